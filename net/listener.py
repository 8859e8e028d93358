"""The receiving end of streams: one port serves all inputs of a module.

Each arriving connection says which stream it is and to which input it goes. Anybody can say so: a
stream whose origin is known is taken from that address alone, and a connection that hasn't been
accepted can neither make us hold much nor stay long. `Inbox` is an input: a queue bounded per
stream. Full-policy `block`: the connection isn't read from until there is room, so TCP holds the
sender back. Everything happens in the event loop's callbacks: no tasks. Must not know: modules,
files, wiring.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from net import OTTER_WIRE_VERSION
from net.connection import Connection
from net.errors import ConnectionClosed, RemoteWireError, TransportError
from net.messages import Message
from net.timing import Timing
from net.wire import END, MAX_MESSAGE_BYTES, End, Event, Hello, Incoming, accept, refuse

DEFAULT_QUEUE = 16
"""Messages, per stream."""


class Inbox:
    """One input: what its streams have brought, in order of arrival.

    Args:
        name: The input.
        queues: Stream name -> messages that may wait; it ends when all these streams have ended.
            None: any stream may come, and it ends when all that came have ended.
        queue: Messages that may wait per stream, where `queues` is None.
        clock: Seconds since 1970.
        sources: Stream name -> the only address it may come from; one that is missing or empty may
            come from anywhere.
    """

    def __init__(
        self,
        name: str,
        queues: Mapping[str, int] | None = None,
        queue: int = DEFAULT_QUEUE,
        clock: Callable[[], float] = time.time,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._queues = None if queues is None else dict(queues)
        self._queue = queue
        self._clock = clock
        self._sources = dict(sources or {})
        self._items: deque[tuple[Message, ReceivingConnection]] = deque()
        self._live: dict[str, ReceivingConnection] = {}
        self._ended: set[str] = set()
        self._last_id: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._discarding = False

    async def take(self) -> Message:
        """The next message.

        Raises:
            ConnectionClosed: The input has ended, or was closed here.

        Cancellation: no message is lost.
        """
        while not self._items:
            if self.ended:
                raise ConnectionClosed(f"input {self.name!r} has ended")
            self._changed.clear()
            await self._changed.wait()
        message, connection = self._items.popleft()
        message.taken = self._clock()
        connection.taken()
        return message

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.take()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come (what is queued may still be taken)."""
        if self._closed:
            return True
        known = set(self._queues) if self._queues is not None else self._ended | set(self._live)
        return bool(known) and known <= self._ended

    def discard(self) -> None:
        """Throw away what waits and whatever comes, so that no sender waits for us."""
        self._discarding = True
        while self._items:
            self._items.popleft()[1].taken()

    def close(self) -> None:
        """End it here. Idempotent."""
        self._closed = True
        self._changed.set()

    # what its connections call

    def expects(self, stream: str) -> bool:
        """Whether it waits for this very stream."""
        return self._queues is not None and stream in self._queues

    def why_not(self, hello: Hello, address: str) -> str:
        """Why a stream isn't wanted from a peer at `address`; empty: it is."""
        if self._closed:
            return f"input {self.name!r} is closed"
        if self._queues is not None and not self.expects(hello.stream):
            return f"input {self.name!r} has no stream {hello.stream!r} ({_list(self._queues)})"
        source = self._sources.get(hello.stream)
        if source and source != address:
            return f"this stream doesn't come from {address or 'an unknown address'}"
        return ""

    def attach(self, stream: str, connection: ReceivingConnection) -> int:
        """A stream has come, or come again; its queue bound."""
        former = self._live.get(stream)
        self._live[stream] = connection
        self._ended.discard(stream)
        if former is not None:
            former.replace_by(connection)
        return self._queue if self._queues is None else self._queues[stream]

    def put(self, connection: ReceivingConnection, hello: Hello, event: Incoming) -> bool:
        """Queue a message; False: not queued."""
        if self._discarding or self._closed:
            return False
        if self._last_id.get(hello.stream) == event.id:
            return False  # its sender could not know that it had arrived before a cut
        self._last_id[hello.stream] = event.id
        message = Message(
            value=event.value,
            id=event.id,
            reply_to=event.reply_to,
            source=hello.sender,
            stream=hello.stream,
            made=event.made,
            sent=event.sent,
            received=self._clock(),
            size_bytes=event.size_bytes,
        )
        self._items.append((message, connection))
        self._changed.set()
        return True

    def end(self, stream: str, connection: ReceivingConnection) -> None:
        """A stream has said its last word."""
        if self._live.get(stream) is connection:
            self._ended.add(stream)
            self._changed.set()

    def detach(self, stream: str, connection: ReceivingConnection) -> None:
        """A connection is gone."""
        if self._live.get(stream) is connection:
            del self._live[stream]


class ReceivingConnection(Connection):
    """One connection from a sender: a hello, messages, an end."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener.limit_bytes, messages=False)
        self._listener = listener
        self._patience: asyncio.TimerHandle | None = None
        self._inbox: Inbox | None = None
        self._hello = Hello(0, "", "", "")
        self._bound = 1
        self._waiting = 0
        self._successor: ReceivingConnection | None = None
        listener.connections.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there, and has a while to say who."""
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        # Closed without a REFUSE: an honest sender whose hello was held up shall try again.
        self._patience = loop.call_later(self._listener.timing.hello_s, self.abort)

    def on_event(self, event: Event) -> None:
        """Route what has arrived."""
        if isinstance(event, Hello) and self._inbox is None:
            self._greet(event)
        elif isinstance(event, Incoming) and self._inbox is not None:
            if self._inbox.put(self, self._hello, event):
                self._waiting += 1
                if self._waiting >= self._bound:
                    self.pause()
        elif isinstance(event, End) and self._inbox is not None:
            self._inbox.end(self._hello.stream, self)
            self.write_soon(END)
            self.close()
        else:
            raise RemoteWireError(f"unexpected {type(event).__name__} from a sender")

    def _greet(self, hello: Hello) -> None:
        inbox = self._listener.find(hello)
        if hello.version != OTTER_WIRE_VERSION:
            why = f"it speaks wire version {hello.version}, here is {OTTER_WIRE_VERSION}"
        elif inbox is None:
            why = f"no input {hello.input!r} here ({_list(self._listener.inputs)})"
        else:
            why = inbox.why_not(hello, self.peer_address)
        if why or inbox is None:
            self.write_soon(refuse(why))
            self.close()
            return
        self._hurry_no_more()
        self.allow_messages()
        self._inbox, self._hello = inbox, hello
        self.write_soon(accept(self._listener.limit_bytes))
        self._bound = max(1, inbox.attach(hello.stream, self))

    def _hurry_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def replace_by(self, successor: ReceivingConnection) -> None:
        """The sender has connected anew: take what it left here, then let the new one go on."""
        successor.pause()
        self._successor = successor
        self._retire()

    def _retire(self) -> None:
        """Close once nothing is left unread. The sender's end may be gone without a word."""
        if self._successor is not None and self.reading and self.unread() == 0:
            self.abort()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have arrived."""
        super().buffer_updated(nbytes)
        self._retire()

    def resume(self) -> None:
        """Take messages again."""
        super().resume()
        self._retire()

    def taken(self) -> None:
        """One of its messages has left the queue."""
        self._waiting -= 1
        if self._waiting < self._bound:
            self.resume()

    def fail(self, error: TransportError) -> None:
        """Say why before closing, else the sender would try the same again."""
        self.write_soon(refuse(str(error)))
        super().fail(error)

    def on_lost(self, error: Exception | None) -> None:
        """A cut; the sender comes back by itself."""
        self._hurry_no_more()
        self._listener.connections.discard(self)
        if self._inbox is not None:
            self._inbox.detach(self._hello.stream, self)
        if self._successor is not None:
            self._successor.resume()


class Listener:
    """Serves the inputs of one module. Use with `async with`, or `open` and `aclose`.

    Attributes:
        inputs: Name -> `Inbox`.
        connections: Those that are open.
        limit_bytes: Largest message that is accepted.
        timing: Grace periods.
    """

    def __init__(
        self,
        addresses: Iterable[tuple[str, int]],
        inputs: Iterable[Inbox],
        limit_bytes: int = MAX_MESSAGE_BYTES,
        timing: Timing | None = None,
    ) -> None:
        self._addresses = sorted(set(addresses))
        self.inputs = {inbox.name: inbox for inbox in inputs}
        self.connections: set[ReceivingConnection] = set()
        self.limit_bytes = limit_bytes
        self.timing = timing or Timing()
        self._servers: list[asyncio.Server] = []

    def find(self, hello: Hello) -> Inbox | None:
        """Where a stream goes: to the input that waits for it, else to the one it names."""
        for inbox in self.inputs.values():
            if inbox.expects(hello.stream):
                return inbox
        return self.inputs.get(hello.input)

    @property
    def port(self) -> int:
        """Where it listens; what the kernel chose if 0 was asked for."""
        port: int = self._servers[0].sockets[0].getsockname()[1]
        return port

    async def open(self) -> None:
        """Start to listen.

        Raises:
            TransportError: The port is taken, or the address isn't here.
        """
        loop = asyncio.get_running_loop()
        for address, port in self._addresses:
            try:
                server = await loop.create_server(lambda: ReceivingConnection(self), address, port)
            except OSError as exc:
                await self.aclose()
                raise TransportError(
                    f"{address}:{port}: can't listen: {exc.strerror or exc}"
                ) from exc
            self._servers.append(server)

    async def aclose(self) -> None:
        """Stop listening, end all inputs, cut what is connected. Idempotent."""
        for server in self._servers:
            server.close()
        for inbox in self.inputs.values():
            inbox.close()
        open_connections = list(self.connections)
        for connection in open_connections:
            connection.abort()
        for connection in open_connections:
            await connection.wait_closed()

    async def __aenter__(self) -> Listener:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def listen(
    address: str,
    port: int,
    inputs: Iterable[str],
    *,
    queue: int = DEFAULT_QUEUE,
    limit_bytes: int = MAX_MESSAGE_BYTES,
    timing: Timing | None = None,
) -> Listener:
    """Receive streams at one port, any number for each of `inputs`.

    Args:
        address: IPv4 address to listen at.
        port: TCP port; 0: one that is free, see `Listener.port`.
        inputs: Names that senders may ask for.
        queue: Messages that may wait, per stream.
        limit_bytes: Largest message that is accepted.
        timing: Grace periods.

    Example:
        >>> async with listen("0.0.0.0", 9000, ["images"]) as listener:
        ...     async for message in listener.inputs["images"]:
        ...         print(message.value.shape)
    """
    inboxes = [Inbox(name, queue=queue) for name in inputs]
    return Listener([(address, port)], inboxes, limit_bytes, timing)


def _list(names: Iterable[str]) -> str:
    return "it has " + (", ".join(sorted(names)) or "none")
