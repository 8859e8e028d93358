"""Streams between modules of one host through shared memory; docs/shared-memory.md has the whole.

A sender makes memfds, puts messages into them, and says on a Unix socket where they lie:

    records    what is said on the socket, pure     channel    the socket on the event loop
    slots      who has which part of it, pure       memory     memfds: sealed, mapped, lent
    regions    the sender's memory                  sender, receiver     the two ends of a stream
"""
