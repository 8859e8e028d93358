"""Links in user space: a helper process carries packets between TUN devices, late and scarce.

device      TUN devices that outlive whoever holds them
driver      the agent's side: tells the helper, has another one when it is lost
ends        opens devices in their namespaces
protocol    what is said to the helper                              pure
__main__    the helper's process: control (the agent) beside
carrier     … the loop
line        … a link: two devices, two `net.links.model.Model`
"""
