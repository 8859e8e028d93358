"""The receiving end of streams of datagrams: one port serves all inputs of a module.

Each session says hello first, as which stream it comes and to which input it goes. A stream whose
origin is known is taken from that address alone, and of a session datagrams count only from the
address that it began at, after what was answered there has been said back: before that nothing is
kept of it. What nobody has asked for costs one look-up and at most a shorter answer.
Everything happens in the event loop's callbacks: no tasks. Must not know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable

from net.datagram import control
from net.datagram.fragment import HELLO
from net.datagram.incoming import Incoming
from net.datagram.options import MAX_MESSAGE_BYTES, MIN_MTU_BYTES
from net.datagram.receiving import Receiving
from net.datagram.sending import DEAD_S
from net.datagram.sockets import Address, Refused, TooLarge, UdpSocket, watch_again
from net.datagram.tokens import Tokens
from net.errors import RemoteWireError, TransportError
from net.greeting import misfit
from net.hears import Hears
from net.inbox import DEFAULT_QUEUE, Inbox, listed
from net.rubbish import Rubbish
from net.wire import Hello

MAX_SESSIONS = 1024
"""Most at a time."""
_READS = 16
"""Most batches that are read before other tasks get a turn."""
_LEAST_HELLO = MIN_MTU_BYTES - 28
"""Shorter ones get no answer: it might be larger, a gift to who lies about his address."""


class Endpoint(Hears):
    """Serves the inputs of one module. Use with `async with`, or `open` and `aclose`.

    Args:
        addresses: Where to receive: IPv4 address and UDP port.
        inputs: What is fed.
        limit_bytes: Largest message that is accepted.
        clock: Seconds since 1970.

    Attributes:
        inputs: Name -> `Inbox`.
        ignored: Datagrams that belonged to no session, or made no sense.
        rubbish: Of these and of what was refused, who it was and why.
    """

    def __init__(
        self,
        addresses: Iterable[Address],
        inputs: Iterable[Inbox],
        limit_bytes: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._addresses = sorted(set(addresses))
        self.inputs = {inbox.name: inbox for inbox in inputs}
        self.limit_bytes = limit_bytes
        self.clock = clock
        self.ignored = 0
        self.rubbish = Rubbish("udp")
        self._sockets: list[UdpSocket] = []
        self._sessions: dict[int, Incoming] = {}
        self._tokens = Tokens(secrets.token_bytes(32))
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    @property
    def port(self) -> int:
        """Where it listens; what the kernel chose if 0 was asked for."""
        return self._sockets[0].port

    async def open(self) -> None:
        """Start to listen.

        Raises:
            TransportError: The port is taken, or the address isn't here.
        """
        loop = asyncio.get_running_loop()
        for address, port in self._addresses:
            opened = UdpSocket()
            self._sockets.append(opened)
            try:
                opened.bind((address, port))
            except OSError as exc:
                await self.aclose()
                raise TransportError(
                    f"{address}:{port}: can't listen for datagrams: {exc.strerror or exc}"
                ) from exc
            loop.add_reader(opened.fileno(), self._on_readable, opened)

    async def aclose(self) -> None:
        """Stop listening, end all inputs. Idempotent."""
        loop = asyncio.get_running_loop()
        while self._sockets:
            opened = self._sockets.pop()
            loop.remove_reader(opened.fileno())
            opened.close()
        if self._timer is not None:
            self._timer.cancel()
        for inbox in self.inputs.values():
            inbox.close()
        for session in self._sessions.values():
            session.detach()
        self._sessions.clear()

    # --- the loop's callbacks --------------------------------------------------------------------

    def _on_readable(self, opened: UdpSocket) -> None:
        now = asyncio.get_running_loop().time()
        touched: dict[Incoming, None] = {}
        for _ in range(_READS):
            try:
                found = opened.receive()
            except Refused:
                watch_again(opened, self._on_readable, opened)
                continue  # of somebody who was answered and is gone
            if found is None:
                break
            data, segment, address = found
            try:
                kind, number = control.read_prefix(memoryview(data[:segment]))  # type: ignore[arg-type]
                if kind == HELLO:
                    self._greet(opened, number, data[:segment].tobytes(), address, now)
                    continue
            except RemoteWireError as exc:
                self.ignored += 1
                self.refused(opened, address, exc)
                continue
            session = self._sessions.get(number)
            if session is None or session.address != address:
                self._unknown(opened, number, address, known=session is not None)
                continue
            session.receive(data, segment, now)
            touched[session] = None
        for session in touched:
            session.pump(now)

    def _unknown(self, opened: UdpSocket, number: int, address: Address, *, known: bool) -> None:
        """Nobody's datagram: an honest sender learns that its receiver has been started anew."""
        self.ignored += 1
        if known:
            self.refused(opened, address, "a datagram of somebody else's session")
        else:
            self.send(opened, control.gone(number), address)

    def _greet(
        self, opened: UdpSocket, number: int, data: bytes, address: Address, now: float
    ) -> None:
        if len(data) < _LEAST_HELLO:
            raise RemoteWireError("a hello of too few bytes")
        session = self._sessions.get(number)
        if session is not None and session.address != address:
            raise RemoteWireError("somebody else's session")
        answer = b"" if session is not None else self._meet(opened, number, data, address, now)
        if not answer:
            accepted = control.Accepted(self.limit_bytes, opened.window_bytes, len(data))
            answer = control.accept(number, accepted)
        self.send(opened, answer, address)

    def _meet(
        self, opened: UdpSocket, number: int, data: bytes, address: Address, now: float
    ) -> bytes:
        """Begin a session; or why not, or what has to be said before that."""
        greeting = control.read_hello(data)
        inbox = self._find(greeting)
        why = self._why_not(greeting, inbox, address[0])
        if why or inbox is None:
            if inbox is None or not inbox.closed:  # late for who leaves is nobody's fault
                self.refused(opened, address, f"stream {greeting.stream!r}: {why}")
            return control.refuse(number, why)
        if not self._tokens.proves(greeting.token, address, number, now):
            token = self._tokens.give(address, number, now)
            return control.challenge(number, token, len(data))
        core = Receiving(number, greeting, self.limit_bytes, opened.window_bytes, now)
        self._sessions[number] = Incoming(self, opened, address, core, inbox)
        self.wake_at(now + DEAD_S)
        return b""

    def _find(self, greeting: control.Greeting) -> Inbox | None:
        """Where a stream goes: to the input that waits for it, else to the one it names."""
        for inbox in self.inputs.values():
            if inbox.expects(greeting.stream):
                return inbox
        return self.inputs.get(greeting.input)

    def _why_not(self, greeting: control.Greeting, inbox: Inbox | None, address: str) -> str:
        hello = Hello(greeting.wire, greeting.stream, greeting.input, greeting.sender)
        if why := misfit(hello):
            return why
        if inbox is None:
            return f"no input {greeting.input!r} here ({listed(self.inputs)})"
        if len(self._sessions) >= MAX_SESSIONS:
            return f"{MAX_SESSIONS} streams are connected already"
        return inbox.why_not(hello, address)

    # --- what sessions call ----------------------------------------------------------------------

    def refused(self, opened: UdpSocket, address: Address, why: object) -> None:
        """What a peer said makes no sense, or isn't wanted."""
        self.rubbish.came(address[0], why, at=opened.name)

    def send(self, opened: UdpSocket, data: bytes, address: Address) -> None:
        """A datagram back; what the kernel doesn't take is lost, as datagrams may be."""
        try:
            opened.send([data], 0, address)
        except (TooLarge, Refused):
            self.ignored += 1

    def wake_at(self, at: float) -> None:
        """Some session has something to do then."""
        if at >= self._timer_at or not self._sockets:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        now = asyncio.get_running_loop().time()
        self._timer, self._timer_at = None, float("inf")
        for number, session in list(self._sessions.items()):
            if now - session.heard > DEAD_S:
                session.detach()
                del self._sessions[number]
                continue
            session.pump(now)
            self.wake_at(session.heard + DEAD_S + 0.01)


def listen(
    address: str,
    port: int,
    inputs: Iterable[str],
    *,
    queue: int = DEFAULT_QUEUE,
    policy: str = "block",
    limit_bytes: int = MAX_MESSAGE_BYTES,
) -> Endpoint:
    """Receive streams of datagrams at one port, any number for each of `inputs`.

    Args:
        address: IPv4 address to listen at.
        port: UDP port; 0: one that is free, see `Endpoint.port`.
        inputs: Names that senders may ask for.
        queue: Messages that may wait, per stream.
        policy: `block`, `drop-oldest` or `latest`: what happens when they do.
        limit_bytes: Largest message that is accepted.

    Example:
        >>> async with listen("0.0.0.0", 9000, ["images"]) as endpoint:
        ...     async for message in endpoint.inputs["images"]:
        ...         print(message.value.shape)
    """
    inboxes = [Inbox(name, queue=queue, policy=policy) for name in inputs]
    return Endpoint([(address, port)], inboxes, limit_bytes)
