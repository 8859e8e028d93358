"""An arbiter of turns in the test's own process, and what its agent says to it."""

from __future__ import annotations

import socket
from pathlib import Path

from otter_agent import api
from otter_agent.leasing.arbiter import Arbiter
from otter_agent.leasing.words import Member, Report, Told

ROUNDS = 8
"""Of an arbiter: what was sent has been heard by then."""


class Arbiters:
    """One in this process, and its agent."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "turns.s"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self.path))
        listener.listen()
        self.listener = listener
        self.arbiter = Arbiter(listener)

    def work(self) -> None:
        for _ in range(ROUNDS):
            self.arbiter.serve(0.0)

    def tell(self, *members: Member, more: bool = False) -> Report:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.connect(str(self.path))
            agent.sendall(api.encode(Told(members=members, more=more)) + b"\n")
            self.work()
            return api.decode(agent.recv(1 << 16), Report)

    def ask(self, path: str, thing: str) -> bytes:
        """What is answered, at once; nothing: it is hung up."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as module:
            module.connect(path)
            module.send(f"a {thing}".encode())
            self.work()
            module.settimeout(10)
            return module.recv(8)
