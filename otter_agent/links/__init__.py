"""What makes links scarce: drivers with one meaning, and what is in force of all that was asked.

    base        what a driver is                                        pure
    choose      which driver this machine's meshes get, and why
    ways        the directions of a mesh's links                        pure
    book        of one mesh: what is asked in three layers, and in force
    leases      what was changed by hand, for good or for a time        pure
    asking      what is asked by hand, looked up                        pure
    admission   whether a topology's links can be had here              pure
    telling     events                                                  pure
    clock       the clocks that leases end by
    helper      the agent's end of a process beside it, talks its end,
                talk what is said                                       pure
    realtime    how such a process keeps its time, stopping how it ends
    fake        moves no packet
    netem/      the kernel's: qdiscs on veth pairs
    tun/        in user space: a helper process between TUN devices

What the properties of a link mean stands in `net.links.spec`.
"""
