"""Who takes part, by the names that the results have. Which cases they take part in: `cases/`."""

from __future__ import annotations

import importlib.util

from benchmarks.transport.peer import Contender

STREAM, MESH = "net.stream", "net.Mesh"
STREAM_UVLOOP, MESH_UVLOOP = "net.stream, uvloop", "net.Mesh, uvloop"
PYZMQ, PYZMQ_ASYNCIO = "pyzmq", "pyzmq.asyncio"
ZENOH, GRPC, NATS = "Zenoh", "grpc.aio", "NATS"
SOCKETS, BARE, BARE_UVLOOP = "sockets", "bare asyncio", "bare uvloop"

CONTENDERS = {
    STREAM: Contender("ours_stream"),
    MESH: Contender("ours_mesh"),
    STREAM_UVLOOP: Contender("ours_stream", ("uvloop",), "uvloop"),
    MESH_UVLOOP: Contender("ours_mesh", ("uvloop",), "uvloop"),
    PYZMQ: Contender("pyzmq_blocking", ("zmq",)),
    PYZMQ_ASYNCIO: Contender("pyzmq_asyncio", ("zmq",)),
    ZENOH: Contender("zenoh_python", ("zenoh",)),
    GRPC: Contender("grpc_aio", ("grpc",)),
    NATS: Contender("nats_py", ("nats",), broker=True),
    SOCKETS: Contender("sockets"),
    BARE: Contender("bare_protocol"),
    BARE_UVLOOP: Contender("bare_protocol", ("uvloop",), "uvloop"),
}
OURS = (STREAM, MESH, STREAM_UVLOOP, MESH_UVLOOP)
PEERS = (PYZMQ, PYZMQ_ASYNCIO, ZENOH, GRPC, NATS)


def missing(name: str) -> str:
    """Why a contender can't take part; empty: it can."""
    for package in CONTENDERS[name].needs:
        if importlib.util.find_spec(package) is None:
            return f"{package} isn't installed: make setup-bench"
    return ""
