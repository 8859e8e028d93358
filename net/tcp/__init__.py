"""Streams over TCP: a connection each, kept, and made again after a cut. `net.stream` opens them.

sender ──► dialing ──► connection ◄── listener
burst ──────────────────┘  └── reader
"""
