"""The `netem` driver: links as queues of the kernel, on their veth pairs.

    driver      `NetemDriver`: what the agent calls
    tree        LinkSpec <-> qdiscs: which, and why these               pure
    place       one direction's qdiscs -> messages that change them     pure
    options     parameters of each kind of qdisc <-> bytes              pure
    tc          messages of traffic control <-> bytes                   pure
    counters    statistics of qdiscs -> counters of a direction         pure
    observe     reads what is there
    sockets     netlink sockets in namespaces, kept open
    probe       what this kernel has
    segments    no packets over a link's MTU where links are shaped

No process is started, no text parsed.
"""

from otter_agent.links.netem.driver import NetemDriver

__all__ = ["NetemDriver"]
