"""What the agents of a mesh's machines tell each other, with nobody's help: clocks, and news.

    datagrams  what is said, sealed with a key that two machines share       pure
    offsets    by how much two clocks differ, of what was asked and answered pure
    peer       a conversation with one machine: who says what next           pure
    clockfile  how a machine's clock stands, for its modules
    talk       the sockets and timers of a mesh's conversations

They talk through tunnels of their own, each in a namespace that holds nothing else: what comes in
has passed the kernel as a tunnel's, and carries a seal. Everything is said whole, again and again,
so a lost datagram is made up for by the next.
"""
