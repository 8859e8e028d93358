"""The agent's side of the launcher: finds or starts it, asks it, hears of exits.

No task of its own: one reader on the event loop resolves the answers. A lost connection fails
what was asked; the caller decides whether to ask again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import otter_agent
from otter_agent.errors import ContainerError
from otter_agent.launcher import records

START_WITHIN_S = 20.0
QUEUE_LIMIT = 10_000
"""Exits kept for a slow watcher; then the oldest go (`list` is the truth)."""


class Lost(Exception):  # noqa: N818 - internal: the connection broke before an answer came
    """The launcher went away."""


class LauncherClient:
    """A connection to the launcher of `root`, made when first needed.

    Args:
        root: The launcher's folder (`Layout.launcher`).
        idle_s: A launcher started from here ends after this long without modules and agents.

    Attributes:
        volumes: Whether the launcher that was connected last mounts volumes: one that an agent of
            before there were any has left doesn't.
    """

    def __init__(self, root: Path, idle_s: float) -> None:
        self.root = root
        self._idle_s = idle_s
        self.volumes = False
        self._sock: socket.socket | None = None
        self._greeted = False
        self._connecting = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        self._numbers = 0
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._watchers: list[asyncio.Queue[dict[str, Any] | None]] = []

    async def request(
        self, op: str, *, fds: Sequence[int] = (), number: int | None = None, **fields: Any
    ) -> Any:
        """Ask, and wait for the answer.

        Args:
            op: What; see `server`.
            fds: Descriptors to hand over; closed here as soon as they are sent, or can't be.
            number: From `next_number`, where the caller needs to know it.
            fields: What `op` takes.

        Raises:
            Lost: The launcher went away meanwhile.
            ContainerError: It refused, or can't be started.
        """
        number = self.next_number() if number is None else number
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        try:
            await self.connect(start=True)
            await self._send({"id": number, "op": op, **fields}, fds, answer)
        finally:
            for fd in fds:
                os.close(fd)
        reply = await self._answer(number, answer)
        if "error" in reply:
            target = f"{fields.get('mesh')}/{fields.get('module')}"
            raise ContainerError(
                "process", op, target, reply["error"], recoverable=bool(reply.get("recoverable"))
            )
        return reply["ok"]

    def next_number(self) -> int:
        """An id for a request."""
        self._numbers += 1
        return self._numbers

    def tell(self, op: str, **fields: Any) -> None:
        """Ask without an answer, if connected and if there is room; for clean-up."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.send(json.dumps({"op": op, **fields}).encode())

    def subscribe(self) -> asyncio.Queue[dict[str, Any] | None]:
        """A queue that gets each exit, and None when the launcher goes away."""
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(QUEUE_LIMIT)
        self._watchers.append(queue)
        return queue

    def unsubscribe(self, queue: asyncio.Queue[dict[str, Any] | None]) -> None:
        """No more exits for this queue."""
        self._watchers.remove(queue)

    async def connect(self, *, start: bool) -> bool:
        """Connect unless connected; if nobody answers, start a launcher or return False.

        Raises:
            ContainerError: It can't be started.
        """
        async with self._connecting:
            if self._sock is not None or await self._greet():
                return True
            if not start:
                return False
            deadline = asyncio.get_running_loop().time() + START_WITHIN_S
            while True:
                await self._spawn()
                if await self._greet():
                    return True
                if asyncio.get_running_loop().time() > deadline:
                    raise self._failed("it doesn't answer")
                await asyncio.sleep(0.02)  # one that ends just now still holds its lock

    async def aclose(self) -> None:
        """Close the connection; modules and launcher go on."""
        self._lost()

    # --- connection ------------------------------------------------------------------------

    async def _greet(self) -> bool:
        """Connect and be answered: from then on no exit is missed, and it isn't one that dies."""
        if not self._try():
            return False
        number = self.next_number()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        try:
            await self._send({"id": number, "op": "hello"}, (), answer)
            reply = await self._answer(number, answer)
        except Lost:
            return False
        self._greeted = True
        self.volumes = "volumes" in reply.get("ok", ())
        return True

    async def _answer(self, number: int, answer: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
        try:
            return await answer
        finally:
            self._pending.pop(number, None)

    def _try(self) -> bool:
        kind = socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            folder = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            sock.close()
            return False
        try:  # by way of the folder: a socket's path may have 107 bytes only
            sock.connect(f"/proc/self/fd/{folder}/{records.SOCKET}")
        except OSError:
            sock.close()
            return False
        finally:
            os.close(folder)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable)
        self._sock = sock
        return True

    async def _spawn(self) -> None:
        """Run the launcher's starter to its end; the launcher itself is then in background."""
        package = str(Path(otter_agent.__file__).parent.parent)
        starter = await asyncio.create_subprocess_exec(
            # No site: the standard library is all that it needs, and each module forks from it.
            sys.executable, "-S", "-s", "-m", "otter_agent.launcher", str(self.root),
            str(self._idle_s),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, start_new_session=True, cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": package},
        )  # fmt: skip
        try:
            _, stderr = await starter.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                starter.kill()
            await starter.wait()
            raise
        if starter.returncode:
            last = stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise self._failed(last[0] if last else f"it ended with {starter.returncode}")

    def _failed(self, why: str) -> ContainerError:
        return ContainerError(
            "process", "start the launcher", str(self.root), why, recoverable=True,
            hint=f"see {self.root / records.LOG}; it needs root and network namespaces",
        )  # fmt: skip

    async def _send(
        self, message: dict[str, Any], fds: Sequence[int], answer: asyncio.Future[dict[str, Any]]
    ) -> None:
        data = json.dumps(message).encode()
        if len(data) > records.MESSAGE_LIMIT:
            raise ContainerError("process", message["op"], "launcher", "the command is too long")
        async with self._sending:
            while True:
                sock = self._sock
                if sock is None:
                    raise Lost
                try:
                    socket.send_fds(sock, [data], list(fds))
                except BlockingIOError:
                    await self._writable(sock)
                except OSError as exc:
                    self._lost()
                    raise Lost from exc
                else:
                    self._pending[message["id"]] = answer
                    return

    async def _writable(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._room = loop.create_future()
        loop.add_writer(sock.fileno(), self._has_room)
        try:
            await self._room
        finally:
            if sock.fileno() >= 0:
                loop.remove_writer(sock.fileno())

    def _has_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _on_readable(self) -> None:
        while self._sock is not None:
            try:
                data = self._sock.recv(records.MESSAGE_LIMIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            self._take(json.loads(data))

    def _take(self, message: dict[str, Any]) -> None:
        if "event" in message:
            for queue in self._watchers:
                _put(queue, message)
            return
        answer = self._pending.get(message["id"])
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _lost(self) -> None:
        if self._sock is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._sock = None
        self._has_room()
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(Lost())
        if self._greeted:  # one that ended instead of an answer to `hello` was never there
            self._greeted = False
            for queue in self._watchers:
                _put(queue, None)


def _put(queue: asyncio.Queue[dict[str, Any] | None], item: dict[str, Any] | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(item)
