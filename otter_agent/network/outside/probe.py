"""Whether meshes can have gateways on this machine; changes nothing."""

from __future__ import annotations

import os
import socket

from otter_agent.errors import NetworkError
from otter_agent.network import namespaces
from otter_agent.network.outside.inside import transparent
from otter_agent.network.outside.steer import Steering


def problem() -> str:
    """Why they can't; empty if they can."""
    try:
        namespaces.in_own_thread(_try)
    except NetworkError as error:
        return f"{error.args[0]}; {error.hint}" if error.hint else str(error)
    except OSError as error:
        return str(namespaces.failed("open a gateway", "this machine", error))
    return ""


def _try() -> None:
    """Steering in a nameless namespace that ends with this thread."""
    namespaces.unshare()
    own = namespaces.open_own()
    tcp = transparent(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    udp = transparent(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    try:
        tcp.listen()
        udp.bind(("0.0.0.0", 0))  # noqa: S104 - of a namespace that nobody else is in
        Steering(own, tcp.fileno(), udp.fileno(), tcp.fileno()).close()
    finally:
        udp.close()
        tcp.close()
        os.close(own)
