"""One SSH connection to a machine, and what travels in it: channels to its agent, commands.

    Road ─ dials when it is first needed, and again once its connection has broken
      ├─ open(socket) ─► streams to a Unix socket over there, as many as wanted
      └─ run(command) ─► what it printed

All that imports asyncssh but for one thing (machine/hostkey.py: host keys that a user names), and
itself imported only where a machine is reached by SSH. Host keys are always verified. Must not
know: HTTP, agents' requests, topologies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import asyncssh

from otter_ctl.connection import Open, Stream
from otter_ctl.errors import MachineUnreachable, RemoteError
from otter_ctl.topology.model import Machine

T = TypeVar("T")
DIALS_AT_ONCE = 8
"""A server drops some of those who knock at the same time (MaxStartups 10:30:100)."""
_CONNECT_S = 10.0
"""Unless ssh_config has a `ConnectTimeout`."""
_KEEPALIVE_S = 10
_KEEPALIVES_LOST = 3
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


class Throttle:
    """Lets only so many dial at the same time."""

    def __init__(self, at_once: int = DIALS_AT_ONCE) -> None:
        self._room = asyncio.Semaphore(at_once)

    @contextlib.asynccontextmanager
    async def dialling(self) -> AsyncIterator[None]:
        """The block is one dial."""
        async with self._room:
            yield


class Road:
    """The way to one machine; use with `async with`.

    Args:
        machine: Where it is and how it is reached.
        throttle: Shared by all roads of one controller.
    """

    def __init__(self, machine: Machine, throttle: Throttle | None = None) -> None:
        self.machine = machine
        self.target = machine.ssh or machine.name
        self._throttle = throttle or Throttle()
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
                raise ConnectionResetError(None, _one_line(error)) from error
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
            raise self._unreachable(f"`{line[:60]}` gave no answer in {limit_s:g} s") from error
        except (asyncssh.Error, OSError) as error:
            raise self._unreachable(f"the connection broke ({_one_line(error)})") from error
        status = -1 if done.returncode is None else done.returncode
        return Done(status, _bytes(done.stdout), _bytes(done.stderr))

    async def address(self) -> str:
        """The address over there that SSH goes to, as that machine itself sees it."""
        done = await self.run('echo "$SSH_CONNECTION"', limit_s=_CONNECT_S)
        words = done.stdout.decode(errors="replace").split()
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
                return await self._try()
            except _Momentary:
                await asyncio.sleep(pause * (1 + random.random() / 2))  # noqa: S311
                pause *= 2
        try:
            return await self._try()
        except _Momentary as error:
            raise self._unreachable(str(error)) from error

    async def _try(self) -> asyncssh.SSHClientConnection:
        client = _Client()
        try:
            async with self._throttle.dialling():
                options = await self._options(client)
                limit_s = options.connect_timeout or _CONNECT_S
                async with asyncio.timeout(limit_s):
                    return await asyncssh.connect(options.host, options=options)
        except TimeoutError as error:
            raise self._unreachable("it gives no answer") from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._untrusted(client, _one_line(error)) from error
        except asyncssh.KeyExchangeFailed as error:
            if client.known and "host key" in str(error).lower():
                raise self._untrusted(client, _one_line(error)) from error
            raise self._unreachable(_one_line(error)) from error
        except asyncssh.PermissionDenied as error:
            why = "SSH refuses the login: none of your keys is accepted"
            hint = f"does `{self._by_hand()}` work? add your key to ~/.ssh/authorized_keys there"
            raise self._unreachable(why, hint) from error
        except (ConnectionResetError, BrokenPipeError, asyncssh.ConnectionLost) as error:
            raise _Momentary(f"the connection closed at once ({_one_line(error)})") from error
        except (asyncssh.Error, OSError, ValueError) as error:
            raise self._unreachable(_one_line(error)) from error

    async def _options(self, client: _Client) -> asyncssh.SSHClientConnectionOptions:
        config = self.machine.ssh_config
        user, _, host = self.target.rpartition("@")
        given: dict[str, Any] = {
            "host": host,
            "config": [config] if config else (),
            "client_factory": lambda: client,
            "keepalive_interval": _KEEPALIVE_S,
            "keepalive_count_max": _KEEPALIVES_LOST,
        }
        if user:
            given["username"] = user
        options: asyncssh.SSHClientConnectionOptions
        options = await asyncssh.SSHClientConnectionOptions.construct(**given)
        known = _existing(options.known_hosts)
        if known != options.known_hosts:
            given["known_hosts"] = known
            options = await asyncssh.SSHClientConnectionOptions.construct(**given)
        client.look_up(options)
        return options

    # --- what went wrong ---------------------------------------------------------------------

    def _by_hand(self) -> str:
        config = f"-F {self.machine.ssh_config} " if self.machine.ssh_config else ""
        return f"ssh {config}{self.target}"

    def _unreachable(self, why: str, hint: str = "") -> MachineUnreachable:
        hint = hint or f"does `{self._by_hand()}` work?"
        return MachineUnreachable(self.machine.name, f"can't be reached by SSH: {why}", hint=hint)

    def _untrusted(self, client: _Client, why: str) -> MachineUnreachable:
        shown = f" (it shows {client.shown})" if client.shown else ""
        if client.known:
            name = client.name
            return self._unreachable(
                f"its host key has changed{shown}",
                "somebody may be in between; if its key was replaced: "
                f"ssh-keygen -R '{name}', then `{self._by_hand()}` once",
            )
        if "revoked" in why.lower():
            return self._unreachable(f"its host key is revoked{shown}")
        hint = f"compare it and accept it once: `{self._by_hand()}`"
        if client.shown:
            fingerprint = client.shown.split()[-1]
            hint += f", or otterctl machine check {self.target} --accept-host-key {fingerprint}"
        return self._unreachable(f"its host key is not known{shown}", hint)

    async def _why_closed(self, socket: str, error: asyncssh.ChannelOpenError) -> str:
        if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
            return "its sshd forbids it: set `AllowStreamLocalForwarding yes` there"
        with contextlib.suppress(RemoteError):
            quoted = shlex.quote(socket)
            test = f"test -S {quoted} || {{ echo none; exit; }}; test -w {quoted} || echo closed"
            said = (await self.run(test, limit_s=_CONNECT_S)).stdout.strip()
            if said == b"closed":
                return "this user may not use it: log in as root, or as a user of group otter"
            if said != b"none":
                return "nobody listens there any more"
        return "there is none"


class _Momentary(Exception):  # noqa: N818 - it passes
    """A failure that may be gone at the next try."""


class _Client(asyncssh.SSHClient):
    """Remembers which host key was shown, and whether others are known.

    Attributes:
        known: Keys of this host are known.
        shown: Fingerprint of the key that it showed and that isn't among them.
        name: As it stands in known_hosts.
    """

    def __init__(self) -> None:
        self.known = False
        self.shown = ""
        self.name = ""

    def look_up(self, options: asyncssh.SSHClientConnectionOptions) -> None:
        """Whether keys are known for the host."""
        host = options.host_key_alias or options.host
        self.name = host if options.port == asyncssh.DEFAULT_PORT else f"[{host}]:{options.port}"
        files = options.known_hosts
        if not files:  # no configuration names any
            from pathlib import Path

            default = Path("~/.ssh/known_hosts").expanduser()
            files = [str(default)] if default.is_file() else b""
        with contextlib.suppress(OSError, ValueError):
            found = asyncssh.match_known_hosts(files, host, "", options.port)
            self.known = bool(found[0] or found[1])

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Asked about keys that are in no known_hosts; none is taken."""
        self.shown = f"{key.algorithm.decode()} {key.get_fingerprint()}"
        return False


def _existing(known_hosts: object) -> object:
    """The files of known hosts that are there, as ssh reads them; where none is, nobody is known.

    `UserKnownHostsFile none` is None, by which asyncssh would verify nothing. Where nothing names
    any it reads the user's own, also for b"": that nobody is known is said by an object.
    """
    if known_hosts == []:
        return known_hosts
    if isinstance(known_hosts, list):
        known_hosts = [path for path in known_hosts if os.path.isfile(os.path.expanduser(path))]
    return known_hosts or asyncssh.import_known_hosts("")


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
            raise ConnectionResetError(None, _one_line(error)) from error
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
            raise ConnectionResetError(None, _one_line(error)) from error

    async def drain(self) -> None:
        try:
            await self._writer.drain()
        except asyncssh.Error as error:
            raise ConnectionResetError(None, _one_line(error)) from error


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _one_line(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number).lower()  # asyncio's own text repeats the address
    reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(str(reason or type(error).__name__).split())
