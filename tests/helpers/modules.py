"""Two modules `a` and `b` wired to each other both ways over loopback, for tests of the SDK."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import net
from net.stream import Timing
from net.wiring import StreamEnd, Wiring

HERE = "127.0.0.1"
FAST = Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.2)


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """Ports that nobody has now, each another: all are held until the last is found."""
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(socket.socket(type=kind)) for _ in range(count)]
        for sock in socks:
            sock.bind((HERE, 0))
        return [sock.getsockname()[1] for sock in socks]


def two_wirings(**options: object) -> tuple[Wiring, Wiring]:
    """`a.there` leads to `b.there`, `b.back` to `a.back`."""
    ports = free_ports(2)
    there = StreamEnd("a.there>b.there", "there", "", HERE, ports[0], **options)  # type: ignore[arg-type]
    back = StreamEnd("b.back>a.back", "back", "", HERE, ports[1], **options)  # type: ignore[arg-type]
    return (
        Wiring("test", "a", "h", HERE, inputs=(back,), outputs=(there,)),
        Wiring("test", "b", "h", HERE, inputs=(there,), outputs=(back,)),
    )


def mesh_of(wiring: Wiring, state: Path | None = None) -> net.Mesh:
    """The module's mesh, quick to retry."""
    if state is not None:
        state.mkdir(exist_ok=True)
    return net.Mesh(wiring, state=state, timing=FAST)
