"""Transport between modules: the SDK (`Mesh`, `run`), streams, wire format, units, link specs.

Importing this loads neither numpy nor asyncio: the SDK comes with the first use of its names.
Imports numpy and the standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from net.errors import (
    ConnectionClosed,
    DriverError,
    LocalWireError,
    MessageTooLarge,
    OtterError,
    RemoteWireError,
    TransportError,
)

if TYPE_CHECKING:
    from net.mesh import Input, Mesh, Output, run
    from net.messages import Message

OTTER_WIRE_VERSION = 1
"""Version of the wire format; both ends of a stream compare it in the handshake."""

__all__ = [
    "OTTER_WIRE_VERSION",
    "ConnectionClosed",
    "DriverError",
    "Input",
    "LocalWireError",
    "Mesh",
    "Message",
    "MessageTooLarge",
    "OtterError",
    "Output",
    "RemoteWireError",
    "TransportError",
    "run",
]

_LAZY = {
    "Input": "net.mesh",
    "Mesh": "net.mesh",
    "Message": "net.messages",
    "Output": "net.mesh",
    "run": "net.mesh",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
