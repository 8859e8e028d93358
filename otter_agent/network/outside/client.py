"""The agent's side of the relays: one process per mesh that has a gateway or a published port.

A relay is found by its socket, whoever started it; who listens there is asked of the kernel. All
methods are synchronous and may be called from any thread, for one mesh at a time.
"""

from __future__ import annotations

import hashlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

import otter_agent
from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.network.outside.config import Config, Report
from otter_agent.network.outside.holders import MARK

LOG = "relay.log"
_ANSWER_S = 20.0
_END_S = 5.0


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
        with _connected(path) or self._start(config.mesh, path) as connection:
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
        connection = _connected(path)
        if connection is not None:
            with connection:
                watched = _open_pid(_listener_of(connection, path))
                try:
                    _ask_to_end(connection, watched)
                finally:
                    if watched is not None:
                        os.close(watched)
        path.unlink(missing_ok=True)

    def end_others(self, meshes: set[str]) -> None:
        """End the relays of all meshes but these."""
        known = {self._path(mesh) for mesh in meshes}
        for path in self._folder.glob("*.s"):
            if path not in known:
                self._end(path)

    def lost(self) -> list[str]:
        """Meshes whose relay has ended by itself since it was last told something."""
        with self._guard:
            gone = [mesh for mesh, descriptor in self._watched.items() if _ended(descriptor, 0)]
        for mesh in gone:
            self._unwatch(mesh)
        return gone

    # --- how -------------------------------------------------------------------------------------

    def _path(self, mesh: str) -> Path:
        """Its socket: short, as a Unix socket's path must be."""
        return self._folder / f"{hashlib.blake2b(mesh.encode(), digest_size=6).hexdigest()}.s"

    def _start(self, mesh: str, path: Path) -> socket.socket:
        """A new relay; it outlives the agent."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            with _short(path) as short:
                listener.bind(short)
            listener.listen(8)
            self._spawn(listener, mesh, path)
        connection = _connected(path)
        if connection is None:
            raise ConnectionError(f"its process ended at once; see {self._folder / LOG}")
        return connection

    def _spawn(self, listener: socket.socket, mesh: str, path: Path) -> None:
        package = str(Path(otter_agent.__file__).parent.parent)
        # A log of its own: it outlives the agent, and would hold whatever that one prints to.
        with (self._folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", __package__, MARK, mesh, str(path)],
                stdin=listener.fileno(), stdout=log, stderr=log, start_new_session=True, cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": package},
            )  # fmt: skip
        # This process's child for as long as this lives: somebody has to take note of its end.
        threading.Thread(target=process.wait, name=f"relay of {mesh}", daemon=True).start()

    def _watch(self, mesh: str, pid: int) -> None:
        self._unwatch(mesh)
        descriptor = _open_pid(pid)
        if descriptor is not None:
            with self._guard:
                self._watched[mesh] = descriptor

    def _unwatch(self, mesh: str) -> None:
        with self._guard:
            descriptor = self._watched.pop(mesh, None)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Another name of a socket, by way of its folder: a socket's path may have 107 bytes only."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _connected(path: Path) -> socket.socket | None:
    """A connection to the relay whose socket this is; None: nobody listens."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as short:
            made.connect(short)
    except OSError:
        made.close()
        return None
    return made


def _listener_of(connection: socket.socket, path: Path) -> int | None:
    """The relay's pid, as the kernel knows it; None unless that process is a relay indeed.

    Until the relay itself listens, the kernel names the agent that had made the socket.
    """
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid = int.from_bytes(data[:4], sys.byteorder)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return pid if os.fsencode(path) in words and MARK.encode() in words else None


def _ask_to_end(connection: socket.socket, watched: int | None) -> None:
    """Tell a relay to end; wait until it has; kill it if it doesn't."""
    connection.settimeout(_END_S)
    with suppress(OSError):
        connection.sendall(b"\n")
        while connection.recv(4096):  # it hangs up when everything is closed
            pass
    if watched is not None and not _ended(watched, _END_S):
        signal.pidfd_send_signal(watched, signal.SIGKILL)
        _ended(watched, _END_S)


def _open_pid(pid: int | None) -> int | None:
    """A descriptor that tells when a process has ended; None: it has."""
    try:
        return None if pid is None else os.pidfd_open(pid)
    except OSError:
        return None


def _ended(watched: int, within_s: float) -> bool:
    """Whether a process ends within some time."""
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    return bool(poll.poll(within_s * 1000))
