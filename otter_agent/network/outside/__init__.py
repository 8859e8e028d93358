"""The outside world: gateways and published ports, carried by one relay process per mesh.

    config       what a relay is asked for                              pure
    client       the agent's side: starts, tells, ends relays
    __main__     the relay's process
    relay        opens and closes what the config says
    gateway      outward traffic: every address is answered for
      steer        which socket a packet goes to (sk_lookup)
      connections  TCP    ┐
      datagrams    UDP    ├ from the mesh to the machine's network
      echo         ping   ┘
      lookups      questions to the machine's name servers; resolver  pure
      reach        where a mesh's traffic may go                      pure
      packets      taken apart and made                               pure
    doors        published ports: from the machine into the mesh
    pump, flows  carry bytes, carry datagrams
    holders      who holds a port, for errors

Why no NAT by the kernel: it would need the machine to forward (net.ipv4.ip_forward), which is off
on most, and rules that come before others' policies: Docker drops what is forwarded, firewalls
flush what they don't know. Sockets of a process need none of it, and nothing of theirs outlives it.
"""
