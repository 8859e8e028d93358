"""Dials: an SSH connection to a machine, through jump hosts where the configuration has some.

    ~/.ssh/config, or the site file's ─► options ─► jump host ─► jump host ─► machine

Host keys are verified at every step, whatever the configuration says. A dial is given up when it
makes no headway any more, not when it takes long: a slow way isn't a broken one. Must not know:
what a connection is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import asyncssh

from otter_ctl.errors import MachineUnreachable
from otter_ctl.knownhosts import OWN_HOSTS, KnownHosts, known_hosts
from otter_ctl.topology.model import Machine

DIALS_AT_ONCE = 8
"""A server drops some of those who knock at the same time (MaxStartups 10:30:100)."""
CONNECT_S = 10.0
"""For each of a dial's three steps (TCP, keys, login), unless ssh_config has a `ConnectTimeout`."""
_KEEPALIVE_S = 10
"""Unless ssh_config has a `ServerAliveInterval`."""
_OWN_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
"""Unless ssh_config has an `IdentityFile`."""
WINDOWS = sys.platform == "win32"
_JUMPS = 8
"""More of them are a circle."""


class Momentary(Exception):  # noqa: N818 - it passes
    """A failure that may be gone at the next try."""


class Throttle:
    """Lets only so many dial at the same time."""

    def __init__(self, at_once: int = DIALS_AT_ONCE) -> None:
        self._room = asyncio.Semaphore(at_once)

    @contextlib.asynccontextmanager
    async def dialling(self) -> AsyncIterator[None]:
        """The block is one dial."""
        async with self._room:
            yield


@dataclass(frozen=True, slots=True)
class Hop:
    """A host on the way.

    Attributes:
        name: As ssh takes it, for people.
        user: "": as the configuration says.
        port: None: as the configuration says.
    """

    name: str
    host: str
    user: str = ""
    port: int | None = None


def target(text: str) -> Hop:
    """`user@host`, or an alias."""
    user, _, host = text.rpartition("@")
    return Hop(text, host, user)


def jumps(text: object) -> list[Hop]:
    """What ssh_config's `ProxyJump` names: `[user@]host[:port]`, several with commas between."""
    if not isinstance(text, str) or text.lower() == "none":
        return []
    return [_jump(word) for word in text.replace(" ", "").split(",") if word]


def _jump(word: str) -> Hop:
    user, _, rest = word.removeprefix("ssh://").rpartition("@")
    host, port = rest, ""
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    number = port.removeprefix(":")
    name = f"{user}@{host}" if user else host
    return Hop(name, host, user, int(number) if number.isdecimal() else None)


class Dial:
    """Makes connections to one machine.

    Args:
        machine: Where it is and how it is reached.
        throttle: Shared by all of one controller.
    """

    def __init__(self, machine: Machine, throttle: Throttle | None = None) -> None:
        self.machine = machine
        self.hop = target(machine.ssh or machine.name)
        self._throttle = throttle or Throttle()

    async def connect(self) -> asyncssh.SSHClientConnection:
        """A new connection.

        Raises:
            MachineUnreachable: Says why, and what to do.
            Momentary: The same may work at once.
        """
        return await self._to(self.hop, None, 0)

    async def _to(
        self, hop: Hop, via: asyncssh.SSHClientConnection | None, depth: int
    ) -> asyncssh.SSHClientConnection:
        client = Client()
        try:
            try:
                options = await self.options(client, hop)
            except (asyncssh.Error, OSError, ValueError) as error:
                raise self.unreachable(one_line(error), hop=hop) from error
            via = via or await self.through(options, depth)
            async with self._throttle.dialling():
                connection = await self._step(hop, client, options, via)
        except BaseException:
            if via is not None:
                via.abort()
            raise
        if via is not None:
            connection.set_tunnel(via)  # it ends with what it carries
        return connection

    async def through(
        self, options: asyncssh.SSHClientConnectionOptions, depth: int = 0
    ) -> asyncssh.SSHClientConnection | None:
        """A connection to the last jump host before a host, where there is one.

        Raises:
            MachineUnreachable: One of them can't be reached.
            Momentary: The same may work at once.
        """
        via: asyncssh.SSHClientConnection | None = None
        for jump in jumps(options.tunnel):
            if depth > _JUMPS:
                raise self.unreachable("its jump hosts lead in a circle")
            via = await self._to(jump, via, depth + 1)
        return via

    async def _step(
        self,
        hop: Hop,
        client: Client,
        options: asyncssh.SSHClientConnectionOptions,
        via: asyncssh.SSHClientConnection | None,
    ) -> asyncssh.SSHClientConnection:
        limit_s = options.connect_timeout or CONNECT_S
        try:
            async with asyncio.timeout(limit_s) as clock:
                client.headway = lambda: _longer(clock, limit_s)
                return await asyncssh.connect(
                    options.host,
                    options=options,
                    tunnel=via,
                    connect_timeout=None,
                    keepalive_interval=options.keepalive_interval or _KEEPALIVE_S,
                )
        except TimeoutError as error:
            raise self.unreachable("it gives no answer", hop=hop) from error
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._untrusted(hop, client, one_line(error)) from error
        except asyncssh.KeyExchangeFailed as error:
            if client.known and "host key" in str(error).lower():
                raise self._untrusted(hop, client, one_line(error)) from error
            raise self.unreachable(one_line(error), hop=hop) from error
        except asyncssh.PermissionDenied as error:
            why = "SSH refuses the login: none of your keys is accepted"
            raise self.unreachable(why, self._no_key(hop, options), hop=hop) from error
        except (ConnectionResetError, BrokenPipeError, asyncssh.ConnectionLost) as error:
            raise Momentary(f"the connection closed at once ({one_line(error)})") from error
        except (asyncssh.Error, OSError, ValueError) as error:
            raise self.unreachable(one_line(error), hop=hop) from error

    async def options(self, client: Client, hop: Hop) -> asyncssh.SSHClientConnectionOptions:
        """What the user's configuration says of a host; its key is to be verified in any case."""
        config = self.machine.ssh_config
        given: dict[str, Any] = {
            "host": hop.host,
            "config": [config] if config else (),
            "client_factory": lambda: client,
        }
        if hop.user:
            given["username"] = hop.user
        if hop.port is not None:
            given["port"] = hop.port
        options: asyncssh.SSHClientConnectionOptions
        options = await asyncssh.SSHClientConnectionOptions.construct(**given)
        known = known_hosts(options.config.get)
        options.known_hosts = options.kwargs["known_hosts"] = known  # `connect` makes them anew
        client.look_up(options, known)
        if client.certified and not client.known and not options.config.get("HostKeyAlgorithms"):
            # Else one that has no certificate has nothing to show, and hangs up without a word.
            options.server_host_key_algs = options.kwargs["server_host_key_algs"] = "default"
        return options

    # --- what went wrong ---------------------------------------------------------------------

    def by_hand(self, hop: Hop | None = None) -> str:
        """What a user would type."""
        hop = hop or self.hop
        config = f"-F {_quoted(self.machine.ssh_config)} " if self.machine.ssh_config else ""
        port = f"-p {hop.port} " if hop.port is not None else ""
        return f"ssh {config}{port}{hop.name}"

    def unreachable(
        self, why: str, hint: str = "", *, hop: Hop | None = None
    ) -> MachineUnreachable:
        """The error that says so."""
        hint = hint or f"does `{self.by_hand(hop)}` work?"
        if hop is not None and hop is not self.hop:
            why = f"its jump host {hop.name}: {why}"
        return MachineUnreachable(self.machine.name, f"can't be reached by SSH: {why}", hint=hint)

    def _no_key(self, hop: Hop, options: asyncssh.SSHClientConnectionOptions) -> str:
        if WINDOWS:  # whose OpenSSH has no ssh-copy-id
            brings = "a line of ~/.ssh/authorized_keys there, with your public key, lets you in"
        else:
            words = self.by_hand(hop).removeprefix("ssh ")
            brings = f"`ssh-copy-id {words}` brings your key there"
        if locked := _locked(options):
            return (
                f"{locked} has a passphrase, so it counts from an agent alone: `ssh-add {locked}`;"
                f" and {brings}"
            )
        return f"{brings}; does `{self.by_hand(hop)}` work?"

    def _untrusted(self, hop: Hop, client: Client, why: str) -> MachineUnreachable:
        shown = f" (it shows {client.shown})" if client.shown else ""
        if "revoked" in why.lower():
            return self.unreachable(f"its host key is revoked{shown}", hop=hop)
        if client.known:
            forget = " and ".join(starmap(_without, client.where()))
            return self.unreachable(
                f"its host key has changed{shown}",
                "somebody may be in between; if its key was replaced: "
                f"{forget}, then `{self.by_hand(hop)}` once",
                hop=hop,
            )
        if client.certified:
            no = "no good certificate of whom known_hosts names for it"
            return self.unreachable(
                f"its host key has {no}: {why}{shown}",
                f"have it signed anew, or compare its key and accept it: `{self.by_hand(hop)}`",
                hop=hop,
            )
        hint = f"compare it and accept it once: `{self.by_hand(hop)}`"
        if client.signer:
            shown = f" (it shows a certificate of {client.signer})"
            hint += ", or name who signs in known_hosts: @cert-authority"
        if client.shown and hop is self.hop:
            fingerprint = client.shown.split()[-1]
            hint += f", or otterctl machine check {hop.name} --accept-host-key {fingerprint}"
        return self.unreachable(f"its host key is not known{shown}", hint, hop=hop)


class Client(asyncssh.SSHClient):
    """Remembers which host key was shown, and whether others are known; tells of headway.

    Attributes:
        known: Keys of this host are known.
        certified: Who signs its keys is known (`@cert-authority`).
        shown: Fingerprint of the key that it showed and that isn't among them.
        signer: Of who signed its certificate, and isn't known.
        where: Files that have keys of this host, and the name by which they have them.
        headway: Called when a step of the dial is done.
    """

    def __init__(self) -> None:
        self.known = self.certified = False
        self.shown = self.signer = ""
        self.where: Callable[[], list[tuple[str, str]]] = list
        self.headway: Callable[[], None] = lambda: None

    def look_up(self, options: asyncssh.SSHClientConnectionOptions, known: KnownHosts) -> None:
        """Whether keys are known for the host, or who signs them."""
        host = options.host_key_alias or options.host
        self.where = lambda: known.where(host, options.port)
        found = asyncssh.match_known_hosts(known, host, "", options.port)
        self.known, self.certified = bool(found[0]), bool(found[1])

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """TCP has connected."""
        self.headway()

    def begin_auth(self, username: str) -> None:
        """Keys are exchanged, the host's is verified."""
        self.headway()

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Asked about keys that are in no known_hosts; none is taken."""
        self.shown = _fingerprint(key)
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Asked about who has signed a certificate and is in no known_hosts; nobody is taken."""
        self.signer = _fingerprint(key)
        return False


def _fingerprint(key: asyncssh.SSHKey) -> str:
    return f"{key.algorithm.decode()} {key.get_fingerprint()}"


def _longer(clock: asyncio.Timeout, limit_s: float) -> None:
    with contextlib.suppress(RuntimeError):  # its time is over already
        clock.reschedule(asyncio.get_running_loop().time() + limit_s)


def _locked(options: asyncssh.SSHClientConnectionOptions) -> str:
    """A key with a passphrase, which only an agent can use, as nobody is asked; "": none has."""
    named = options.config.get("IdentityFile", ())
    for path in map(str, named) if isinstance(named, list) else _OWN_KEYS:
        try:
            asyncssh.read_private_key(os.path.expanduser(path))
        except asyncssh.KeyImportError as error:
            if "passphrase" in str(error).lower():
                return path
        except (OSError, ValueError):
            continue
    return ""


def _without(path: str, name: str) -> str:
    """What a user would type to have a host's keys gone from a file."""
    usual = os.path.expanduser(OWN_HOSTS[0])
    return f"ssh-keygen -R '{name}'" + (f" -f {_quoted(path)}" if path != usual else "")


def _quoted(path: str) -> str:
    """A path as a shell takes it; of Windows' two both do so."""
    return f'"{path}"' if WINDOWS and " " in path else path if WINDOWS else shlex.quote(path)


def one_line(error: BaseException) -> str:
    """Why, for people."""
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number).lower()  # asyncio's own text repeats the address
    reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(str(reason or type(error).__name__).split())
