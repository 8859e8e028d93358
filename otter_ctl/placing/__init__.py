"""Where modules and hosts go: constraints first, then the least predicted cost.

    topology ─► Request ─► greedy | optimal | package:function ─► name of each item -> its room
                   └──────► explain: why there, and why nowhere else

An *item* is what is placed (a module, a host), a *room* is where it can be (a host, a machine). The
cost of a placement is in seconds: what a message takes over each *flow* between items, times its
weight, plus what crowding costs. `request.py` has the words, `costs.py` the formula. Must not know:
topology, agents.
"""

from otter_ctl.placing.costs import total_s
from otter_ctl.placing.explain import Reason, explain
from otter_ctl.placing.find import place
from otter_ctl.placing.request import Flow, Item, Request, Room, UnplacedError

__all__ = [
    "Flow",
    "Item",
    "Reason",
    "Request",
    "Room",
    "UnplacedError",
    "explain",
    "place",
    "total_s",
]
