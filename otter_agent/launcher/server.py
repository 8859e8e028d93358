"""Requests of the agent, and the launcher's own life.

A request is one SOCK_SEQPACKET message, JSON: `{"id": 7, "op": "start", "mesh": …, "module": …}`.
The answer carries the id: `{"id": 7, "ok": …}` or `{"id": 7, "error": …, "recoverable": …}`. Each
exit of a module is told to every connection: `{"event": "exit", "mesh", "module", "life"}`.

    hello                     → {volumes: whether it mounts them}: from now on all exits are
                                told; or it ends: see `_hello`
    start (+ 1 fd: secrets)   → life, once held      release → life, once its own code runs
    stop {grace_s}            → life, once over
    exec {argv …} + 3 fds     → {"exit": N} once it ended; it dies with the connection
    kill {exec: id}           (no answer) end that command

A launcher outlives its agent's upgrade: this grows by new requests and optional keys only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from otter_agent.launcher import child, records
from otter_agent.launcher.life import ModuleLife, Reply
from otter_agent.launcher.logs import LogWatch
from otter_agent.launcher.loop import Loop

_BACKLOG_LIMIT = 10_000
"""Messages kept for an agent that doesn't read; then its connection is closed."""


class Connection:
    """An agent: messages to and from it, and the commands that it runs."""

    def __init__(self, loop: Loop, sock: socket.socket, server: Server) -> None:
        self.commands: dict[int, int] = {}
        """Request id -> pid."""
        self._loop, self._sock, self._server = loop, sock, server
        self._backlog: deque[bytes] = deque()
        sock.setblocking(False)
        loop.on_readable(sock.fileno(), self._on_readable)

    def send(self, message: dict[str, Any]) -> None:
        """Send now or as soon as the agent reads."""
        if self._sock.fileno() < 0:
            return
        self._backlog.append(json.dumps(message).encode())
        if len(self._backlog) == 1:
            self._flush()
        elif len(self._backlog) > _BACKLOG_LIMIT:
            self.close()

    def close(self) -> None:
        """End the connection and its commands."""
        if self._sock.fileno() < 0:
            return
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        for pid in self.commands.values():
            _kill_session(pid)
        self._server.disconnected(self)

    def _flush(self) -> None:
        try:
            while self._backlog:
                self._sock.send(self._backlog[0])
                self._backlog.popleft()
        except BlockingIOError:
            self._loop.want_write(self._sock.fileno(), self._on_readable, also=self._flush)
            return
        except OSError:
            self.close()
            return
        self._loop.want_write(self._sock.fileno(), self._on_readable, also=None)

    def _on_readable(self) -> None:
        if self._sock.fileno() < 0:
            return
        try:
            data, fds = _receive(self._sock)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        try:
            if data:
                self._server.handle(self, json.loads(data), fds)
            else:
                self.close()
        except ValueError:  # not ours, or cut off: nothing after it can be trusted
            self.close()
        finally:
            for fd in fds:
                os.close(fd)


class Server:
    """The launcher of one agent root.

    Args:
        root: The launcher's folder.
        listener: Bound to its socket, listening.
        idle_s: Ends after this long without modules and without agents.
    """

    def __init__(self, root: str, listener: socket.socket, idle_s: float) -> None:
        self._root, self._idle_s = root, idle_s
        self._listener = listener
        self._loop = Loop()
        self._logs = LogWatch(self._loop)
        self._boot = records.boot_id()
        self._lives: dict[tuple[str, str], ModuleLife] = {}
        self._by_pid: dict[int, Callable[[int], None]] = {}
        self._connections: list[Connection] = []
        self._rounds = 0
        self._greeted = False

    def serve(self) -> None:
        """Adopt what runs, then answer requests until idle."""
        listener = self._listener
        listener.setblocking(False)
        self._loop.on_child(self._reap)
        self._loop.on_readable(listener.fileno(), self._accept)
        self._adopt()
        self._check_idle()
        self._loop.run()

    # --- connections -----------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            self._connections.append(Connection(self._loop, sock, self))

    def disconnected(self, connection: Connection) -> None:
        """An agent has gone."""
        self._connections.remove(connection)
        self._check_idle()

    def _check_idle(self) -> None:
        """Called at each end of something; idle for `idle_s` since: stop."""
        if self._connections or self._lives or self._by_pid:
            return
        self._rounds += 1
        this = self._rounds

        def still() -> None:
            idle = not (self._connections or self._lives or self._by_pid)
            if idle and this == self._rounds:
                self._loop.stop()

        self._loop.call_later(self._idle_s, still)

    # --- requests --------------------------------------------------------------------------

    def handle(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> None:
        """Do what is asked; errors go back as answers."""
        number = request.get("id")

        def reply(answer: dict[str, Any]) -> None:
            connection.send({"id": number, **answer})

        try:
            key = (str(request.get("mesh")), str(request.get("module")))
            match request.get("op"):
                case "hello":
                    self._hello(connection, reply)
                case "start":
                    self._start(key, reply, os.dup(fds[0]) if fds else -1)
                case "release":
                    self._release(key, reply)
                case "stop":
                    self._stop(key, float(request["grace_s"]), reply)
                case "exec":
                    self._exec(connection, key, request, fds)
                case "kill":
                    _kill_session(connection.commands.get(int(request["exec"]), 0))
                case op:
                    reply({"error": f"unknown request {op!r}", "recoverable": False})
        except (OSError, ValueError, KeyError) as exc:
            reply({"error": f"{type(exc).__name__}: {exc}", "recoverable": False})

    def _hello(self, connection: Connection, reply: Reply) -> None:
        """An agent has come. If it isn't the first and nothing runs, it is to start another one.

        Modules get what was mounted on the machine when their launcher began: to one of an earlier
        agent a disk that was mounted since isn't there, and it may be of an older version.
        """
        runs = self._lives or self._by_pid or self._connections != [connection]
        if self._greeted and not runs:
            self._loop.stop()
            return
        self._greeted = True
        reply({"ok": {"volumes": True}})

    def _start(self, key: tuple[str, str], reply: Reply, secrets: int) -> None:
        """Start a module; `secrets` (-1: none) is closed."""
        life = self._lives.get(key)
        if life is not None and life.phase in ("ending", "exited"):
            life.when_over(lambda _: self._start(key, reply, secrets))
            return
        try:
            if life is not None:
                life.when_held(reply)
            else:
                self._fork(key, reply, secrets)
        finally:
            if secrets >= 0:
                os.close(secrets)

    def _fork(self, key: tuple[str, str], reply: Reply, secrets: int) -> None:
        life = self._new(key)
        try:
            life.fork(reply, secrets)
        except OSError:
            del self._lives[key]
            raise
        self._by_pid[life.pid] = life.ended

    def _release(self, key: tuple[str, str], reply: Reply) -> None:
        life = self._lives.get(key)
        if life is None:
            reply({"error": "it is not started", "recoverable": True})
        else:
            life.release(reply)

    def _stop(self, key: tuple[str, str], grace_s: float, reply: Reply) -> None:
        life = self._lives.get(key)
        if life is None:
            reply({"ok": records.observe(self._root, *key, self._boot)})
        else:
            life.stop(grace_s, reply)

    def _exec(
        self, connection: Connection, key: tuple[str, str], request: dict[str, Any], fds: list[int]
    ) -> None:
        number = int(request["id"])
        wanted = cast(records.Request, request)
        life = self._lives.get(key)
        if life is None or life.phase not in ("held", "running") or len(fds) != 3:
            connection.send({"id": number, "error": "it is not running", "recoverable": True})
            return
        namespaces = child.open_namespaces(life.pid)
        try:
            if records.start_time(life.pid) != life.started:
                raise ProcessLookupError(f"process {life.pid} has gone")
            pid = os.fork()
            if pid == 0:
                child.command(life.work, wanted, namespaces, fds)
        finally:
            for fd in namespaces:
                os.close(fd)
        connection.commands[number] = pid

        def ended(status: int) -> None:
            connection.commands.pop(number, None)
            connection.send({"id": number, "ok": {"exit": status}})

        self._by_pid[pid] = ended

    # --- lives -----------------------------------------------------------------------------

    def _new(self, key: tuple[str, str]) -> ModuleLife:
        folder = records.folder(self._root, *key)
        work = records.read(f"{folder}/{records.WORK}")
        if work is None:
            raise FileNotFoundError("it was never created")
        life = ModuleLife(self._loop, folder, work, self._boot, lambda life: self._over(key, life))
        self._lives[key] = life
        self._logs.add(work["log"])
        return life

    def _over(self, key: tuple[str, str], life: ModuleLife) -> None:
        if self._lives.get(key) is life:
            del self._lives[key]
            self._logs.remove(life.work["log"])
        if life.phase == "exited":
            event = {"event": "exit", "mesh": key[0], "module": key[1], "life": life.view()}
            for connection in list(self._connections):
                connection.send(event)
        self._check_idle()

    def _adopt(self) -> None:
        for key in records.keys(self._root):
            life = records.read(f"{records.folder(self._root, *key)}/{records.LIFE}")
            if life is not None and life["phase"] != "exited":
                with contextlib.suppress(FileNotFoundError):
                    self._new(key).adopt(life)

    def _reap(self) -> None:
        """An exit is on disk before its zombie goes: readers tell "gone" from "unknown" by it."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, options)
            except ChildProcessError:
                break
            if ended is None:
                break
            tell = self._by_pid.pop(ended.si_pid, None)  # an orphan of a module has no one
            if tell is not None:
                killed = ended.si_code != os.CLD_EXITED
                tell(128 + ended.si_status if killed else ended.si_status)
            os.waitpid(ended.si_pid, 0)
        self._check_idle()


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    room = socket.CMSG_SPACE(3 * struct.calcsize("i"))
    data, ancillary, _, _ = sock.recvmsg(records.MESSAGE_LIMIT, room, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += struct.unpack(f"{len(content) // 4}i", content)
    return data, fds


def _kill_session(pid: int) -> None:
    """End a command and what it started in its session's first process group."""
    if pid > 0:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
