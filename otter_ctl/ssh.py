"""One SSH connection to a machine, and what travels in it: channels to its agent, commands.

    Road ─ dials when it is first needed, and again once its connection has broken
      ├─ open(socket) ─► streams to a Unix socket over there, as many as wanted
      └─ run(command) ─► what it printed

Imported only where a machine is reached by SSH; with dialling.py and machine/hostkey.py all that
imports asyncssh. Must not know: how is dialled, HTTP, agents' requests, topologies.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import asyncssh

from otter_ctl.connection import Open, Stream
from otter_ctl.dialling import Dial, Momentary, Throttle, one_line
from otter_ctl.errors import RemoteError
from otter_ctl.topology.model import Machine

_ASK_S = 60.0
"""For a line of the shell over there; where the way is slow that takes some seconds."""
_DIALS = 4
"""Before a machine counts as unreachable, where the failure may be one of the moment."""
_PAUSE_S = 0.25
"""Before the second; doubled before each further one, and up to half of it at random on top."""
_READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended.

    Attributes:
        status: Its exit status; negative: the signal that ended it.
    """

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def last(self) -> str:
        """The last line that it printed: shells of some users greet whoever logs in, before it."""
        return self.stdout.decode(errors="replace").strip().rpartition("\n")[2].strip()


class Road:
    """The way to one machine; use with `async with`.

    Args:
        machine: Where it is and how it is reached.
        throttle: Shared by all roads of one controller.
    """

    def __init__(self, machine: Machine, throttle: Throttle | None = None) -> None:
        self.machine = machine
        self.target = machine.ssh or machine.name
        self._dialler = Dial(machine, throttle)
        self._connection: asyncssh.SSHClientConnection | None = None
        self._one_dials = asyncio.Lock()

    async def __aenter__(self) -> Road:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                async with asyncio.timeout(1.0):
                    await self._connection.wait_closed()
            self._connection.abort()

    @property
    def by_hand(self) -> str:
        """What a user would type to go there."""
        return self._dialler.by_hand()

    # --- what it is for ----------------------------------------------------------------------

    def open(self, socket: str) -> Open:
        """Streams to a Unix socket over there: of an agent."""

        async def open_() -> Stream:
            connection = await self.connect()
            try:
                reader, writer = await connection.open_unix_connection(socket, encoding=None)
            except asyncssh.ChannelOpenError as error:
                why = await self._why_closed(socket, error)
                raise ConnectionRefusedError(None, why) from error
            except (asyncssh.Error, OSError) as error:
                raise ConnectionResetError(None, one_line(error)) from error
            return _stream(reader, writer)

        return open_

    async def run(
        self, command: str | Sequence[str], stdin: bytes = b"", *, limit_s: float | None = None
    ) -> Done:
        """Run a command over there, to its end.

        Args:
            command: Words, or a line for the user's shell.
            stdin: What it reads.
            limit_s: Give up after so long.

        Raises:
            MachineUnreachable: It can't be reached, or the connection broke meanwhile.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        connection = await self.connect()
        try:
            async with asyncio.timeout(limit_s):
                done = await connection.run(line, input=stdin, encoding=None, check=False)
        except TimeoutError as error:
            raise self._dialler.unreachable(
                f"`{line[:60]}` gave no answer in {limit_s:g} s"
            ) from error
        except (asyncssh.Error, OSError) as error:
            raise self._dialler.unreachable(f"the connection broke ({one_line(error)})") from error
        status = -1 if done.returncode is None else done.returncode
        return Done(status, _bytes(done.stdout), _bytes(done.stderr))

    async def address(self) -> str:
        """The address over there that SSH goes to, as that machine itself sees it."""
        done = await self.run('echo "$SSH_CONNECTION"', limit_s=_ASK_S)
        words = done.last.split()
        return words[2] if len(words) == 4 else ""

    # --- the connection ----------------------------------------------------------------------

    async def connect(self) -> asyncssh.SSHClientConnection:
        """The connection; dials if there is none.

        Raises:
            MachineUnreachable: Says why, and what to do.
        """
        async with self._one_dials:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._dial()
            return self._connection

    async def _dial(self) -> asyncssh.SSHClientConnection:
        pause = _PAUSE_S
        for _ in range(_DIALS - 1):
            try:
                return await self._dialler.connect()
            except Momentary:
                await asyncio.sleep(pause * (1 + random.random() / 2))  # noqa: S311
                pause *= 2
        try:
            return await self._dialler.connect()
        except Momentary as error:
            raise self._dialler.unreachable(str(error)) from error

    async def _why_closed(self, socket: str, error: asyncssh.ChannelOpenError) -> str:
        if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            return "its sshd forbids it: set `AllowStreamLocalForwarding yes` there"
        with contextlib.suppress(RemoteError):
            quoted = shlex.quote(socket)
            test = f"test -S {quoted} || {{ echo none; exit; }}; test -w {quoted} || echo closed"
            said = (await self.run(["sh", "-c", test], limit_s=_ASK_S)).last
            if said == "closed":
                return "this user may not use it: log in as root, or as a user of group otter"
            if said != "none":
                return "nobody listens there any more"
        return "there is none"


def _stream(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> Stream:
    async def close() -> None:
        writer.close()
        with contextlib.suppress(asyncssh.Error, OSError):
            await writer.wait_closed()

    return Stream(_Reader(reader), _Writer(writer), writer.channel.abort, close)


class _Reader:
    """As `asyncio.StreamReader`, also in what it raises."""

    def __init__(self, reader: asyncssh.SSHReader[bytes]) -> None:
        self._reader = reader
        self._ended = False

    async def read(self, n: int = -1, /) -> bytes:
        try:
            data = await self._reader.read(n)
        except asyncssh.Error as error:
            raise ConnectionResetError(None, one_line(error)) from error
        self._ended = not data
        return data

    def at_eof(self) -> bool:
        return self._ended or self._reader.at_eof()


class _Writer:
    """As `asyncio.StreamWriter`, also in what it raises."""

    def __init__(self, writer: asyncssh.SSHWriter[bytes]) -> None:
        self._writer = writer

    def write(self, data: bytes, /) -> None:
        try:
            self._writer.write(data)
        except (asyncssh.Error, OSError) as error:
            raise ConnectionResetError(None, one_line(error)) from error

    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except asyncssh.Error as error:
            raise ConnectionResetError(None, one_line(error)) from error


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
