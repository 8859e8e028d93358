"""The conversations of one mesh: a socket to each machine that there is something to say to.

Sockets are in the namespaces of the tunnels, which come and go with the mesh's network: one that
isn't there yet is tried again. Must not know: what news mean, who looks at the clock's files.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.layout import Layout
from otter_agent.links.telling import Tell
from otter_agent.network import Network, names
from otter_agent.network.state import talk_addresses
from otter_agent.talk import clockfile
from otter_agent.talk.datagrams import MAX_BYTES, News, Said, opened, seal
from otter_agent.talk.offsets import EXACT, Estimate
from otter_agent.talk.peer import Now, Peer

PORT = 14790
"""In namespaces of our own, where nothing else listens."""
AGAIN_S = 1.0
"""Between two tries to reach a namespace that should be there."""
_AT_ONCE = 64
"""Datagrams read before others of the agent's tasks have their turn."""


@dataclass(slots=True)
class _Line:
    """To one machine."""

    tunnel: api.Tunnel
    peer: Peer
    socket: socket.socket | None = None
    ends: contextlib.ExitStack | None = None

    def close(self) -> None:
        """Let go of the namespace. Idempotent."""
        if self.ends is not None:
            self.ends.close()
        self.socket = self.ends = None


class Talk:
    """Of one mesh.

    Args:
        network: Opens sockets in namespaces.
        layout: Where modules' folders are.
        spec: Of the mesh.
        news: What there is to be told now.
        tell: Records events.

    Attributes:
        heard: Called with a machine and what it told, each time that it tells anything.
    """

    def __init__(
        self,
        network: Network,
        layout: Layout,
        spec: api.MeshSpec,
        news: Callable[[], News],
        tell: Tell,
    ) -> None:
        self._network = network
        self._layout = layout
        self._spec = spec
        self._say = news
        self._tell = tell
        self._life = secrets.token_hex(8)
        self._lines: dict[str, _Line] = {}
        self._news = asyncio.Event()
        self._written: dict[str, tuple[float, float | None]] | None = None
        self._written_s = -math.inf
        self._too_much = self._up = False
        self._real = True
        self.heard: Callable[[str, News], None] = lambda machine, news: None
        self.take(spec)

    def take(self, spec: api.MeshSpec) -> None:
        """Another topology holds; conversations with machines that stay go on."""
        self._spec = spec
        # Fake modules read no clock, and have no network to talk through.
        self._real = not spec.modules or any(m.runtime != "fake" for m in spec.modules)
        talks = {o.machine: o.talk for o in spec.away if o.talk is not None and self._real}
        for machine in [m for m, line in self._lines.items() if talks.get(m) != line.tunnel]:
            self._lines.pop(machine).close()
        for machine, tunnel in talks.items():
            if machine not in self._lines:
                self._lines[machine] = _Line(tunnel, Peer(self._life))
        self._written = None
        self._news.set()

    def network_is_up(self) -> None:
        """The namespaces of the spec's tunnels are there."""
        self._up = True
        self._news.set()

    def folders_are_there(self) -> None:
        """Of all modules, with files that don't say yet how the machine's clock stands."""
        self._written = None
        self._news.set()

    def poke(self) -> None:
        """There is news: all are told at once."""
        for line in self._lines.values():
            line.peer.hurry()
        self._news.set()

    def clock(self) -> Estimate | None:
        """What is to be added to the machine's clock to get the mesh's; None: nobody knows."""
        of = self._spec.clock
        if of in ("", self._spec.machine):
            return EXACT
        line = self._lines.get(of)
        return line.peer.samples.best(time.monotonic()) if line is not None else None

    # --- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Talk until cancelled."""
        try:
            while True:
                self._news.clear()
                closed = self._up and not await self._open_lines()
                self._ask()
                await self._write()
                wait = self._rest_s()
                if closed:
                    wait = AGAIN_S if wait is None else min(wait, AGAIN_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._news.wait()
        finally:
            for line in self._lines.values():
                line.close()

    def _rest_s(self) -> float | None:
        lines = (line for line in self._lines.values() if line.socket is not None)
        due = min((line.peer.due_s for line in lines), default=math.inf)
        return None if due == math.inf else max(0.0, due - time.monotonic())

    async def _open_lines(self) -> bool:
        """Whether all are."""
        good = True
        for machine, line in list(self._lines.items()):
            if line.socket is None:
                good &= await self._open(machine, line)
        return good

    async def _open(self, machine: str, line: _Line) -> bool:
        host, loop = names.aside(machine), asyncio.get_running_loop()
        ends = contextlib.ExitStack()
        try:
            made = await asyncio.to_thread(
                self._network.open_socket, self._spec.name, host, socket.SOCK_DGRAM
            )
            ends.callback(made.close)
            ends.enter_context(
                self._network.on_removal(
                    self._spec.name, host, lambda: loop.call_soon_threadsafe(self._lost, machine)
                )
            )
            made.setblocking(False)
            own, other = talk_addresses(line.tunnel)
            made.bind((own, PORT))
            made.connect((other, PORT))
        except (OSError, NetworkError):  # its namespace isn't there, or not whole
            ends.close()
            return False
        if self._lines.get(machine) is not line:  # meanwhile nobody wants it any more
            ends.close()
            return True
        loop.add_reader(made.fileno(), self._readable, machine, made)
        ends.callback(loop.remove_reader, made.fileno())
        line.socket, line.ends = made, ends
        return True

    def _lost(self, machine: str) -> None:
        """Its namespace is to go."""
        if (line := self._lines.get(machine)) is not None:
            line.close()
            self._news.set()

    def _ask(self) -> None:
        due = [line for line in self._lines.values() if line.socket and line.peer.is_due(_now())]
        if not due:
            return
        error_s, news = self._error_s(), self._say()
        for line in due:
            self._send(line, line.peer.ask(_now(), error_s, news))

    def _send(self, line: _Line, said: Said) -> None:
        assert line.socket is not None
        try:
            line.socket.send(seal(said, line.tunnel.key, self._spec.machine))
        except OSError:
            return  # the next one may get there
        except ValueError as error:
            if not self._too_much:
                self._tell("network", self._spec.name, str(error), "failed")
            self._too_much = True

    def _readable(self, machine: str, made: socket.socket) -> None:
        line = self._lines.get(machine)
        for _ in range(_AT_ONCE):
            try:
                data = made.recv(MAX_BYTES + 64)
            except OSError:  # nothing more, or the other one doesn't listen yet
                return
            came = _now()
            if line is not None and line.socket is made:
                self._take_in(machine, line, data, came)

    def _take_in(self, machine: str, line: _Line, data: bytes, came: Now) -> None:
        said = opened(data, line.tunnel.key, machine)
        if said is None:
            return
        known, due = len(line.peer.samples), line.peer.due_s
        counts = line.peer.hear(said, came)
        if said.asks and line.peer.is_owed(counts, came):
            error_s, news = self._error_s(), self._say()
            self._send(line, line.peer.answer(said, _now(), came, error_s, news))
        if counts and line.peer.news is not None:
            self.heard(machine, line.peer.news)
        if len(line.peer.samples) != known or line.peer.due_s != due:
            self._news.set()

    def _error_s(self) -> float | None:
        found = self.clock()
        return None if found is None else found.error_s

    # --- the clock's files -------------------------------------------------------------------

    async def _write(self) -> None:
        """Tell modules how clocks stand, where that has changed."""
        if not self._real:
            return
        now, spec = _now(), self._spec
        mine = self.clock()
        clock = (0.0, None) if mine is None else (mine.offset_s, mine.error_s)
        errors = {m: line.peer.error_at(now.steady_s) for m, line in self._lines.items()}
        if spec.clock in errors:
            errors[spec.clock] = 0.0  # it is the mesh's
        known = {"": clock, **{machine: (0.0, error_s) for machine, error_s in errors.items()}}
        pause_s = clockfile.EVERY_S + len(spec.modules) * clockfile.EACH_S
        old = now.steady_s - self._written_s > pause_s and bool(spec.clock)
        if not old and not clockfile.differs(known, self._written):
            return
        self._written, self._written_s = known, now.steady_s
        with contextlib.suppress(OSError):  # a full disk: what is known is told again
            await asyncio.to_thread(clockfile.write, self._layout, spec, clock, errors, now.wall_s)


def _now() -> Now:
    return Now(time.time(), time.monotonic())
