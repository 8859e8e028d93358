"""Links in user space: a helper process carries packets between TUN devices, late and scarce.

device      TUN devices that outlive whoever holds them
"""
