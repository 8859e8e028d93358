"""The sending end of a stream of datagrams: a session, its socket, its timer; anew when lost.

Everything happens in the event loop's callbacks: no tasks. Must not know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from net import OTTER_WIRE_VERSION
from net.datagram.control import Greeting
from net.datagram.counters import SentCounters
from net.datagram.options import Options
from net.datagram.sending import Burst, Sending, State
from net.datagram.sockets import Refused, TooLarge, UdpSocket, watch_again
from net.errors import ConnectionClosed, RemoteWireError, StreamRefused, TransportError
from net.messages import Parcel
from net.outlets import Lost
from net.sends import Sends
from net.stats import EdgeStats
from net.timing import Timing
from net.values import Buffer
from net.wire import MAX_MESSAGE_BYTES, encode

_READS = 64
"""Most that is read before other tasks get a turn."""
_FULL_S = 0.001
"""Pause when the kernel takes no more, besides waiting until it says that it does."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A message that waits for its turn."""

    parcel: Parcel
    queued: float
    handed: asyncio.Future[None]
    buffers: list[Buffer] = field(default_factory=list)


class Sender(Sends):
    """The sending end of one stream; use with `async with`, or `open` and `aclose`.

    Args:
        address: Where the receiver listens.
        port: Its UDP port.
        stream: Name of the stream.
        input: The receiver's input.
        sender: Name of this module.
        options: What the stream is asked for.
        timing: Retries and grace periods.
        clock: Seconds since 1970.
        policy: `block`: sending waits while the path or the receiver's queue is full;
            `drop-oldest`, `latest`: it never waits, the oldest of what can't leave is dropped.
        queue: Messages that may wait here with `drop-oldest`.
        wanted_s: After so many seconds nobody wants a message that says nothing else; 0: never.

    Attributes:
        stream: Its name.
        counters: What was done, over all its sessions.
    """

    transport = "udp"
    exactly_once = False
    on_lost: Callable[[Lost], None] | None = None
    """Hears of each message that does not leave."""

    def __init__(
        self,
        address: str,
        port: int,
        *,
        stream: str,
        input: str,  # noqa: A002 - the field's word
        sender: str,
        options: Options | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
        policy: str = "block",
        queue: int = 16,
        wanted_s: float = 0.0,
    ) -> None:
        self.stream = stream
        self.counters = SentCounters()
        self._options = options or Options()
        self._timing = timing or Timing()
        super().__init__(sender, clock)
        self._address, self._port = address, port
        self._greeting = Greeting(
            OTTER_WIRE_VERSION, stream, input, sender,
            self._options.deadline_s, self._options.partial, self._options.retransmit,
        )  # fmt: skip
        self._wanted_s = wanted_s
        self._bound = {"block": 0, "latest": 1}.get(policy, queue)
        self._seqs = itertools.count(1)
        self._waiting: deque[_Waiting] = deque()
        self._stats = EdgeStats(stream, self.transport)
        self._core: Sending | None = None
        self._socket: UdpSocket | None = None
        self._stuck: deque[Burst] = deque()
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._changed: asyncio.Future[None] | None = None
        self._writer = False
        self._closed = self._ending = False
        self._confirmed: bool | None = None

    # --- what modules use ------------------------------------------------------------------------

    async def open(self) -> None:
        """Wait until the other side is there. Sending does that too.

        Raises:
            StreamRefused: It is there and doesn't want this stream.
            TransportError: The address makes no sense.
        """
        await self._start()
        while self._state is State.GREETING:
            await self._change()
        self._check()

    async def deliver(self, parcel: Parcel, on_settled: Callable[[], None] | None = None) -> None:
        """`send` for a value that is packed already, so that many streams can share it.

        Args:
            parcel: The message.
            on_settled: Called when it leaves: nothing that is said later is certain.
        """
        if self._core is None:
            await self._start()
        self._check()
        if self._wanted_s and not parcel.expires:
            parcel = replace(parcel, expires=parcel.made + self._wanted_s)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(parcel, self._clock(), loop.create_future())
        self._waiting.append(waiting)
        if self._state is not State.GREETING:
            self._pump()
        try:
            if self._bound:
                self._make_room()
            else:
                await waiting.handed
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            raise
        if waiting.handed.done():
            waiting.handed.result()
        if on_settled is not None:
            on_settled()

    def _make_room(self) -> None:
        """Whoever drops never waits: what can't leave now is copied, and the oldest goes."""
        while len(self._waiting) > self._bound:
            self._lose(self._waiting.popleft(), "dropped")
            self._stats.dropped += 1
        if self._waiting and not self._waiting[-1].buffers:
            last = self._waiting[-1]
            last.buffers = [bytes(part) for part in self._encoded(last)]

    async def flush(self) -> None:
        """Wait until all has left that was sent; what is lost on the way isn't waited for."""
        while self._waiting or (self._core is not None and self._core.busy):
            await self._change()
            self._check()

    async def aclose(self) -> bool:
        """Say that nothing more comes, and wait until all is received or given up. Idempotent.

        Returns:
            Whether the receiver confirmed it; False if it isn't there.
        """
        if self._confirmed is None:
            try:
                self._confirmed = await self._finish()
            finally:
                self.abort()
        return bool(self._confirmed)

    async def _finish(self) -> bool:
        if self._core is None or self._closed:
            return False
        patience_s = self._timing.close_s
        with suppress(TimeoutError, TransportError):
            await self._patiently(self._leaving, patience_s)
            self._ending = True
            self._core.finish(self._now())
            self._pump()
            patience_s += self._options.deadline_s
            await self._patiently(lambda: self._state is State.ENDING, patience_s)
        return self._state is State.ENDED

    def _leaving(self) -> bool:
        busy = self._core is not None and self._core.busy
        return bool(self._waiting) or busy or self._state is State.GREETING

    async def _patiently(self, waits: Callable[[], bool], patience_s: float) -> None:
        """Wait as long as the receiver says something now and then.

        In quarters: if it is we who stand still, one of them passes, whatever the clock says, and
        what was said meanwhile is heard in the next.

        Raises:
            TimeoutError: It has been silent for so long.
        """
        quarter_s, silent, heard = patience_s / 4, 0, self._heard
        until = self._now() + quarter_s
        while waits():
            if silent == 4:
                raise TimeoutError
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._change()
            self._check()
            now = self._now()
            if self._heard > heard:
                silent, heard, until = 0, self._heard, now + quarter_s
            elif now >= until:
                silent, until = silent + 1, now + quarter_s

    def abort(self) -> None:
        """End it here; what is not yet received may be lost. Idempotent."""
        self._closed = True
        self._let_go()
        self._fail_waiting(ConnectionClosed(f"{self.stream}: the stream has been closed here"))
        self._say_changed()

    def stats(self) -> EdgeStats:
        """Counters of this end; `extra` has those of datagrams."""
        self._stats.waiting = len(self._waiting)
        self._stats.extra = {name: float(n) for name, n in self._totals().as_dict().items()}
        if self._core is not None:
            self._stats.extra |= {"rtt_s": self._core.rtt_s, "rate_bps": self._core.rate_bps}
        return self._stats

    def _totals(self) -> SentCounters:
        return self.counters if self._core is None else self.counters.plus(self._core.counters)

    # --- sessions --------------------------------------------------------------------------------

    @property
    def _state(self) -> State:
        return State.LOST if self._core is None else self._core.state

    @property
    def _heard(self) -> float:
        """When the receiver last said something; of one that is only greeted nothing is known."""
        greeted = self._core is None or self._state is State.GREETING
        return 0.0 if self._core is None or greeted else self._core.heard

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _check(self) -> None:
        if self._closed:
            raise ConnectionClosed(f"{self.stream}: the stream has been closed here")
        if self._core is not None and self._core.state is State.REFUSED:
            raise StreamRefused(f"{self.stream}: refused: {self._core.reason}")

    async def _start(self) -> None:
        """The first session."""
        self._check()
        if self._core is not None:
            return
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(
                self._address, self._port, family=socket.AF_INET, type=socket.SOCK_DGRAM
            )
            self._address = str(found[0][4][0])
            if self._core is None:  # nobody else was faster
                self._begin()
        except OSError as exc:
            raise TransportError(
                f"{self.stream}: can't send to {self._address}:{self._port}: {exc.strerror or exc}"
            ) from exc

    def _begin(self) -> None:
        """A session of its own, from a port of its own: nothing old can be taken for its."""
        self._let_go()
        opened = UdpSocket()
        try:
            opened.connect((self._address, self._port))
        except OSError:
            opened.close()
            raise
        mtu_bytes = min(self._options.mtu_bytes or 65535, opened.mtu_bytes)
        if self._core is not None:
            self.counters = self._totals()
            self._stats.reconnects += 1
        self._core = Sending(
            secrets.randbits(64), self._greeting, self._options, mtu_bytes, self._now()
        )
        self._core.batch = self._core.batch and opened.batch
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened.fileno(), self._on_readable)
        self._pump()

    def _let_go(self) -> None:
        self._stuck.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket.fileno())
            if self._writer:
                loop.remove_writer(self._socket.fileno())
                self._writer = False
            self._socket.close()
            self._socket = None

    # --- the loop's callbacks --------------------------------------------------------------------

    def _on_readable(self) -> None:
        if self._core is not None and self._socket is not None:
            self._hear(self._core, self._socket)
            self._pump()

    def _hear(self, core: Sending, opened: UdpSocket, *, refused: bool = False) -> None:
        """Take what has come, and then that nobody listens there (any more), if that was told.

        The kernel tells of a refusal ahead of what came before it: the receiver's last word may
        be among that.
        """
        for count in range(_READS):
            try:
                found = opened.receive()
            except Refused:
                watch_again(opened, self._on_readable)
                refused = True
                continue
            if found is None:
                if not count:
                    watch_again(opened, self._on_readable)
                break
            data, segment, _ = found
            for start in range(0, len(data), segment):
                with suppress(RemoteWireError):  # whoever says it: our own receiver says sense
                    core.receive(data[start : start + segment].tobytes(), self._now())
        if refused and core.state in (State.OPEN, State.ENDING):
            core.lose()

    def _on_writable(self) -> None:
        if self._socket is not None and self._writer:
            asyncio.get_running_loop().remove_writer(self._socket.fileno())
            self._writer = False
        self._pump()

    def _pump(self) -> None:
        """Hand over what may leave, and set the timer for what may leave later."""
        core = self._core
        if core is None or self._closed:
            return
        now = self._now()
        self._submit(core, now)
        if not self._stuck:
            self._stuck.extend(core.poll(now))
        while self._stuck and self._send(core, self._stuck[0]):
            self._stuck.popleft()
        if core.state is State.LOST and not self._ending:
            self._renew()
            return
        if core.state is State.REFUSED:
            self._fail_waiting(StreamRefused(f"{self.stream}: refused: {core.reason}"))
            self._let_go()
        self._say_changed()
        self._set_timer(core)

    def _renew(self) -> None:
        try:
            self._begin()
        except OSError as exc:
            self._fail_waiting(TransportError(f"{self.stream}: {exc.strerror or exc}"))
            self.abort()

    def _submit(self, core: Sending, now: float) -> None:
        """Messages whose turn it is, one at a time: those that wait may still be dropped."""
        while self._waiting and core.state is State.OPEN and not core.busy:
            waiting = self._waiting.popleft()
            wall = self._clock()
            if waiting.parcel.expires and wall >= waiting.parcel.expires:
                self._stats.expired += 1
                self._lose(waiting, "expired")
            else:
                try:
                    buffers = waiting.buffers or self._encoded(waiting)
                    core.submit(buffers, now)
                    self._stats.sent(sum(len(part) for part in buffers))
                except TransportError as exc:
                    self._lose(waiting, "dropped")
                    if not waiting.handed.done():
                        waiting.handed.set_exception(exc)
                    if self._bound:
                        waiting.handed.exception()  # nobody else looks
                    continue
            if not waiting.handed.done():
                waiting.handed.set_result(None)

    def _lose(self, waiting: _Waiting, outcome: str) -> None:
        if self.on_lost is None:
            return
        parcel = waiting.parcel
        nbytes = parcel.packed.nbytes
        identity = (parcel.run, parcel.number, parcel.reply_to, parcel.made, waiting.queued)
        self.on_lost(Lost(*identity, nbytes, outcome))

    def _encoded(self, waiting: _Waiting) -> list[Buffer]:
        limit = MAX_MESSAGE_BYTES if self._core is None else self._core.limit_bytes
        return encode(
            waiting.parcel, seq=next(self._seqs), queued=waiting.queued, sent=self._clock(),
            limit_bytes=limit or MAX_MESSAGE_BYTES,
        )  # fmt: skip

    def _send(self, core: Sending, burst: Burst) -> bool:
        """Whether the kernel took it, or never will."""
        if self._socket is None:
            return True
        try:
            if self._socket.send(burst.buffers, burst.segment):
                return True
        except TooLarge:
            core.batch = core.batch and self._socket.batch
            core.narrow(self._socket.mtu_bytes)
            return True
        except Refused:
            self._hear(core, self._socket, refused=True)
            return True
        if not self._writer:
            self._writer = True
            asyncio.get_running_loop().add_writer(self._socket.fileno(), self._on_writable)
        return False

    def _set_timer(self, core: Sending) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._now()
        at = now + _FULL_S if self._stuck else core.timer(now)
        if at is None:
            return
        loop = asyncio.get_running_loop()
        if at <= now:
            self._timer = loop.call_soon(self._pump)
        else:
            self._timer = loop.call_at(at, self._pump)

    # --- who waits -------------------------------------------------------------------------------

    async def _change(self) -> None:
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def _say_changed(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _fail_waiting(self, error: TransportError) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            self._lose(waiting, "failed")
            handed = waiting.handed
            if not handed.done():
                handed.set_exception(error)
                if self._bound:
                    handed.exception()
