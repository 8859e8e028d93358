"""The agent's side of the relays: one process per mesh that has a gateway or a published port.

A relay is found by its socket, whoever started it; who listens there is asked of the kernel. All
methods are synchronous and may be called from any thread, for one mesh at a time.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from pathlib import Path

import msgspec

from otter_agent import api, beside
from otter_agent.errors import NetworkError
from otter_agent.network.outside.config import Config, Report
from otter_agent.network.outside.holders import MARK

LOG = "relay.log"
_ANSWER_S = 20.0


class Relays:
    """The relays of one agent.

    Args:
        folder: For their sockets.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._watched: dict[str, int] = {}

    def apply(self, config: Config) -> None:
        """Have a relay do what `config` says; none, if it says nothing.

        Raises:
            NetworkError: Something of it can't be had; the rest is done.
        """
        if not config:
            self.end(config.mesh)
            return
        try:
            problems = self._say(config).problems
        except (OSError, ValueError) as error:
            self.end(config.mesh)  # it hangs, or is another version's
            why = getattr(error, "strerror", None) or str(error)
            raise self._failed(config.mesh, why) from error
        if problems:
            raise self._failed(config.mesh, "; ".join(problems))

    def _failed(self, mesh: str, why: str) -> NetworkError:
        return NetworkError("network", "reach the outside", mesh, why, recoverable=True)

    def _say(self, config: Config) -> Report:
        path = self._path(config.mesh)
        with beside.connected(path) or self._start(config.mesh, path) as connection:
            connection.settimeout(_ANSWER_S)
            connection.sendall(api.encode(config) + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        if not line:
            raise ConnectionError(f"the relay ended while it was asked; see {self._folder / LOG}")
        try:
            report = api.decode(line, Report)
        except msgspec.DecodeError as error:
            raise ValueError(f"the relay's answer isn't understood: {error}") from error
        self._watch(config.mesh, report.pid)
        return report

    def end(self, mesh: str) -> None:
        """End a mesh's relay, if there is one; returns when it is gone with all it opened."""
        self._unwatch(mesh)
        self._end(self._path(mesh))

    def _end(self, path: Path) -> None:
        beside.end(path, MARK, b"\n")

    def end_others(self, meshes: set[str]) -> None:
        """End the relays of all meshes but these."""
        known = {self._path(mesh) for mesh in meshes}
        for path in self._folder.glob("*.s"):
            if path not in known:
                self._end(path)

    def lost(self) -> list[str]:
        """Meshes whose relay has ended by itself since it was last told something."""
        with self._guard:
            gone = [mesh for mesh, watched in self._watched.items() if beside.ended(watched, 0)]
        for mesh in gone:
            self._unwatch(mesh)
        return gone

    # --- how -------------------------------------------------------------------------------------

    def _path(self, mesh: str) -> Path:
        """Its socket: short, as a Unix socket's path must be."""
        return self._folder / f"{hashlib.blake2b(mesh.encode(), digest_size=6).hexdigest()}.s"

    def _start(self, mesh: str, path: Path) -> socket.socket:
        """A new relay; it outlives the agent."""
        return beside.start(path, __package__, (MARK, mesh), LOG)

    def _watch(self, mesh: str, pid: int) -> None:
        self._unwatch(mesh)
        descriptor = beside.open_pid(pid)
        if descriptor is not None:
            with self._guard:
                self._watched[mesh] = descriptor

    def _unwatch(self, mesh: str) -> None:
        with self._guard:
            descriptor = self._watched.pop(mesh, None)
        if descriptor is not None:
            os.close(descriptor)
