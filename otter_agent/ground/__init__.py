"""What an agent stands on: its folders, its machine namespace, its privileges; said here alone.

    root               the machine itself: its network, its cgroups, an engine
    an ordinary user   namespaces of the user's own, in which the agent is root:

      otterctl ── agent.sock ──► agent ┐
                                launcher ├ in the user, mount and network namespace
                           modules, relays ┘          ▲ kept by the
      the machine's network ◄──── one foot ──────── holder, one small process per agent root

Everything above this package is written for root and stays so: an agent without root first enters
its namespaces (`stand`), and finds there what root finds on a machine: /run/netns, the right to
make devices, a network nobody else is in. What it can't have there `Ground` says, a line each.

    ground      `Ground`, and how an agent comes to stand on it
    userns      makes the namespaces                              standard library only
    holder      the process that keeps them while no agent runs   standard library only
    asking      the agent's and the relays' side of the holder
    delegation  the part of cgroup v2 that the user was given     standard library only
"""
