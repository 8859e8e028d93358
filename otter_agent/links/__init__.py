"""What makes links scarce: drivers with one meaning, and what is in force of all that was asked.

    base        what a driver is                                        pure
    netem/      the kernel's: qdiscs on veth pairs
    tun/        in user space: a helper process between TUN devices

What the properties of a link mean stands in `net.links.spec`.
"""
