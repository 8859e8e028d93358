"""Time of a GPU (or whatever modules name) shared among modules, by their weights.

Modules ask for turns (`net.lease()`); the arbiter, a process beside the agent that outlives it,
gives one at a time. It is cooperative: who never asks isn't held up. `fair.py` decides (pure),
`arbiter.py` does the talking, by way of `doors.py`, `__main__.py` is the process, `client.py` the
agent's side of it. The modules' side is `net/leases.py`, `net/asking.py` and `net/turns.py`.
"""
