"""The agent's side of the process that carries tunnels: starts it, finds it again, tells it what.

One process per agent, for all its meshes, so that one port of the machine does. All methods are
synchronous and may be called from any thread, for one mesh at a time. Must not know: packets.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from otter_agent import api, beside
from otter_agent.errors import NetworkError
from otter_agent.links.talk import LENGTH, pack
from otter_agent.links.tun import device
from otter_agent.network import names, namespaces
from otter_agent.network.state import TALK
from otter_agent.tunnels import protocol

LOG = "tunnels.log"
_ANSWER_S = 20.0
_IDLE_S = 2.0
_END_S, _HUNG_S = 5.0, 0.1


class Tunnels:
    """Of one agent.

    Args:
        agent_id: Part of the namespaces' names.
        folder: For the process's socket and log.
    """

    def __init__(self, agent_id: str, folder: Path) -> None:
        self._agent_id = agent_id
        self._path = folder / "tunnels.s"
        self._guard = threading.Lock()
        self._pid: int | None = None
        self._watched: int | None = None
        self._meshes: set[str] = set()
        self._lost: set[str] = set()

    def keep(self, mesh: str, links: Sequence[api.Link]) -> None:
        """Let go of all of a mesh but these: their namespaces may be about to go."""
        with self._guard:
            carried = self._read(mesh)
            left = [one.wanted for one in carried if one.wanted.link in {x.name for x in links}]
            if len(left) < len(carried):
                with suppress(OSError):  # it has just ended, with all that it had
                    self._ask(protocol.Request(kind="set", mesh=mesh, wanted=tuple(left)), ())

    def apply(self, mesh: str, links: Sequence[api.Link]) -> None:
        """Carry these of a mesh, and no others; their devices are there.

        Raises:
            NetworkError: Some can't be had; all others are carried.
        """
        with self._guard:
            if not links:
                self._forget(mesh)
                return
            try:
                problems = self._set(mesh, links)
            except OSError as error:
                self._end(error)
                self._lost.discard(mesh)  # it is told by this
                raise self._failed(mesh, str(error)) from error
            self._meshes.add(mesh)
        if problems:
            raise self._failed(mesh, "; ".join(problems))

    def states(self, mesh: str) -> Mapping[str, api.TunnelState]:
        """How those of a mesh are, by link."""
        with self._guard:
            return {one.wanted.link: one.told for one in self._read(mesh)}

    def forget(self, mesh: str) -> None:
        """Carry nothing of a mesh."""
        with self._guard:
            self._forget(mesh)

    def forget_others(self, meshes: set[str]) -> None:
        """What a killed predecessor had carried of other meshes: all is told anew by `apply`."""
        if not meshes:
            with self._guard:
                self._end()

    def lost(self) -> list[str]:
        """Meshes whose tunnels a process carried that has ended, by itself or since it hung.

        Never waits: while somebody speaks to the process, which may hang, nothing is said.
        """
        if not self._guard.acquire(blocking=False):
            return []
        try:
            if self._watched is not None and beside.ended(self._watched, 0):
                self._unwatch()
            found, self._lost = sorted(self._lost & self._meshes), set()
            return found
        finally:
            self._guard.release()

    # --- how -------------------------------------------------------------------------------------

    def _set(self, mesh: str, links: Sequence[api.Link]) -> list[str]:
        wanted = {link.name: self._wanted(mesh, link) for link in links}
        carried = {one.wanted.link: one.wanted for one in self._carried(mesh)}
        fresh = [name for name, one in wanted.items() if carried.get(name) != one]
        # Those that are to be other than they are have their devices in hand yet.
        left = tuple(one for name, one in carried.items() if name in wanted and name not in fresh)
        if len(left) < len(carried):
            self._ask(protocol.Request(kind="set", mesh=mesh, wanted=left), ())
        problems: list[str] = []
        for start in range(0, len(fresh), protocol.FRESH_A_REQUEST):
            part = fresh[start : start + protocol.FRESH_A_REQUEST]
            left += tuple(wanted[name] for name in part)
            problems += self._hand_over(mesh, left, part)
        return problems

    def _hand_over(
        self, mesh: str, wanted: tuple[protocol.Wanted, ...], fresh: list[str]
    ) -> list[str]:
        devices: list[int] = []

        def open_all() -> None:
            devices.extend(self._open(mesh, link) for link in fresh)

        try:
            namespaces.in_own_thread(open_all)
            request = protocol.Request(kind="set", mesh=mesh, wanted=wanted, fresh=tuple(fresh))
            return list(self._ask(request, devices, start=True).problems)
        finally:
            for descriptor in devices:  # the process has descriptors of its own
                os.close(descriptor)

    def _open(self, mesh: str, link: str) -> int:
        """Moves the calling thread into the namespace."""
        name = self._netns(mesh, link)
        try:
            namespaces.enter(name)
        except OSError as exc:
            raise namespaces.failed("enter the namespace", name, exc) from exc
        return device.attach(names.TUNNEL_DEVICE, offload=True)

    def _netns(self, mesh: str, link: str) -> str:
        talks = link.startswith(TALK)
        host = names.aside(link.removeprefix(TALK)) if talks else names.beyond(link)
        return names.namespace(self._agent_id, mesh, host)

    def _wanted(self, mesh: str, link: api.Link) -> protocol.Wanted:
        tunnel = link.tunnel
        assert tunnel is not None
        try:
            inode = os.stat(namespaces.NETNS_DIR / self._netns(mesh, link.name)).st_ino
        except OSError:
            inode = 0
        return protocol.Wanted(
            link=link.name,
            inode=inode,
            first=tunnel.host != link.a,
            number=tunnel.vni,
            key=tunnel.key,
            local=tunnel.local,
            port=tunnel.port,
            remote=tunnel.remote,
            remote_port=tunnel.remote_port or tunnel.port,
            opens=tunnel.opens,
        )

    def _read(self, mesh: str) -> Sequence[protocol.Carried]:
        """What is carried of a mesh; nothing, where no process answers."""
        try:
            return self._carried(mesh)
        except OSError:
            return ()

    def _carried(self, mesh: str) -> Sequence[protocol.Carried]:
        """The same, but raises `OSError` where a process is there that doesn't say.

        It has devices in hand, which nobody else gets before it has ended.
        """
        try:
            return self._ask(protocol.Request(kind="read", mesh=mesh), ()).carried
        except ConnectionRefusedError:
            return ()

    def _ask(
        self, request: protocol.Request, devices: Sequence[int], *, start: bool = False
    ) -> protocol.Answer:
        """Raises `OSError`: nobody is there, or one of another version."""
        connection = beside.connected(self._path)
        if connection is None:
            if not start:
                raise ConnectionRefusedError("nothing carries tunnels")
            words = (protocol.MARK, str(_IDLE_S))
            connection = beside.start(self._path, __package__, words, LOG)
        with connection:
            connection.settimeout(_ANSWER_S)
            data = pack(request)
            sent = socket.send_fds(connection, [data], list(devices))
            if sent < len(data):
                connection.sendall(data[sent:])
            (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size))
            try:
                answer = api.decode(_exactly(connection, length), protocol.Answer)
            except msgspec.DecodeError as error:
                raise ConnectionError(f"it isn't understood: {error}") from error
        self._watch(answer.pid)
        if answer.problem:
            raise ConnectionError(answer.problem)
        return answer

    def _forget(self, mesh: str) -> None:
        self._meshes.discard(mesh)
        try:
            self._ask(protocol.Request(kind="forget", mesh=mesh), ())
        except ConnectionRefusedError:
            return
        except OSError as error:  # it hangs, with namespaces in its hands
            self._end(error)

    def _end(self, why: OSError | None = None) -> None:
        """End it; one that hangs won't do so by itself."""
        self._unwatch()
        patience_s = _HUNG_S if isinstance(why, TimeoutError) else _END_S
        request = pack(protocol.Request(kind="end"))
        beside.end(self._path, protocol.MARK, request, patience_s=patience_s)

    def _watch(self, pid: int) -> None:
        if pid == self._pid:
            return
        self._unwatch()
        self._watched = beside.open_pid(pid)
        self._pid = pid if self._watched is not None else None

    def _unwatch(self) -> None:
        """It has ended, or is ended: nothing of what it carried is any more."""
        if self._watched is not None:
            os.close(self._watched)
            self._lost |= self._meshes
        self._watched = self._pid = None

    def _failed(self, mesh: str, why: str) -> NetworkError:
        return NetworkError("tunnels", "carry", mesh, why, recoverable=True)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise ConnectionError("it hung up")
        data += part
    return bytes(data)
