"""Links to other machines where VXLAN can't be had: no right to it, no such kernel, a NAT between.

A process beside the agent carries them over UDP between a TUN device at the far end of the link,
in the mesh, and a socket in the machine's own network. docs/many-machines.md says how it looks.
"""
