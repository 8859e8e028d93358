"""Transport between modules: the SDK (`Mesh`, `run`), streams, wire format, units, link specs.

Importing this loads neither numpy nor asyncio: the SDK comes with the first use of its names.
Imports numpy and the standard library only.
"""

from __future__ import annotations

from net.errors import (
    ConnectionClosed,
    DriverError,
    LocalWireError,
    MessageTooLarge,
    OtterError,
    RemoteWireError,
    StreamRefused,
    TransportError,
    WouldWait,
)

TYPE_CHECKING = False  # type checkers take this name for true; importing typing costs 2 ms
if TYPE_CHECKING:
    from net import blocking
    from net.entry import run
    from net.leases import lease
    from net.mesh import Mesh
    from net.messages import Message
    from net.ports import Input, Output

OTTER_WIRE_VERSION = 2
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
    "StreamRefused",
    "TransportError",
    "WouldWait",
    "blocking",
    "lease",
    "run",
]

_LAZY = {
    "Input": "net.ports",
    "Mesh": "net.mesh",
    "Message": "net.messages",
    "Output": "net.ports",
    "lease": "net.leases",
    "run": "net.entry",
}


def __getattr__(name: str) -> object:
    if name == "blocking":
        from importlib import import_module

        return import_module("net.blocking")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, "blocking"})
