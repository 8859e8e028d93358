"""What an agent stands on: its folders, its machine namespace, its privileges; said here alone.

    root               the machine itself: its network, its cgroups, an engine
    an ordinary user   namespaces of the user's own, in which the agent is root:

      otterctl ── agent.sock ──► agent ┐
                                launcher ├ in a user and a mount namespace, and in the machine's
                         helpers, relays ┘ network, where they have a user's rights and no others
                                                      ▲ kept by the
                                                     holder, one small process per agent root

A mesh's network namespaces belong to that user namespace, so there its root may do all: nothing is
made in the machine's own network by root either. Builds and published ports go through the latter.

Everything above this package is written for root and stays so: an agent without root first enters
its namespaces (`stand`), and finds there what root finds on a machine: /run/netns, the right to
make namespaces, devices and mounts. What it can't have there `Ground` says, a line each.

    ground      `Ground`, and how an agent comes to stand on it
    userns      makes the namespaces                              standard library only
    holder      the process that keeps them while no agent runs   standard library only
    asking      the agent's side of the holder
    delegation  the part of cgroup v2 that the user was given     standard library only
"""
