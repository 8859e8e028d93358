"""Socket buffers beyond the machine's limit where this process may have them, else up to it.

Only root of the machine may, not that of a user namespace. Source: socket(7), SO_RCVBUFFORCE.
"""

from __future__ import annotations

import socket

_SNDBUFFORCE, _RCVBUFFORCE = 32, 33


def widen_receiving(made: socket.socket, size_bytes: int) -> None:
    """Have room for what arrives while nobody reads."""
    _set(made, _RCVBUFFORCE, socket.SO_RCVBUF, size_bytes)


def widen_sending(made: socket.socket, size_bytes: int) -> None:
    """Have room for what is sent faster than it leaves."""
    _set(made, _SNDBUFFORCE, socket.SO_SNDBUF, size_bytes)


def _set(made: socket.socket, beyond: int, within: int, size_bytes: int) -> None:
    try:
        made.setsockopt(socket.SOL_SOCKET, beyond, size_bytes)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, within, size_bytes)
