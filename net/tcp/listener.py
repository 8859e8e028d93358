"""The receiving end of streams over TCP: one port serves all inputs of a module.

Each arriving connection says which stream it is and to which input it goes. Anybody can say so: a
stream whose origin is known is taken from that address alone, and a connection that hasn't been
accepted can neither make us hold much nor stay long. With the policy `block` a connection isn't
read from until there is room in its queue, so TCP holds the sender back. Everything happens in the
event loop's callbacks: no tasks. Must not know: modules, files, wiring.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from net.errors import TransportError
from net.hears import Hears
from net.inbox import DEFAULT_QUEUE, Inbox
from net.rubbish import Rubbish
from net.tcp.receiving import ReceivingConnection
from net.timing import Timing
from net.wire import MAX_MESSAGE_BYTES, Hello

MOST_STRANGERS = 128
"""Connections that haven't said who they are, each of which takes two descriptors. If more come,
the oldest is closed: who is honest says hello at once."""


class Listener(Hears):
    """Serves the inputs of one module. Use with `async with`, or `open` and `aclose`.

    Attributes:
        inputs: Name -> `Inbox`.
        connections: Those that are open.
        strangers: Of these, those that haven't said hello, the oldest first.
        rubbish: What came and was refused.
        limit_bytes: Largest message that is accepted.
        timing: Grace periods.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        addresses: Iterable[tuple[str, int]],
        inputs: Iterable[Inbox],
        limit_bytes: int = MAX_MESSAGE_BYTES,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._addresses = sorted(set(addresses))
        self.inputs = {inbox.name: inbox for inbox in inputs}
        self.connections: set[ReceivingConnection] = set()
        self.strangers: dict[ReceivingConnection, None] = {}
        self.limit_bytes = limit_bytes
        self.timing = timing or Timing()
        self.clock = clock
        self.rubbish = Rubbish("tcp")
        self._servers: list[asyncio.Server] = []

    def let_in(self, stranger: ReceivingConnection) -> None:
        """Somebody has connected; who has said nothing for the longest time may have to go."""
        self.strangers[stranger] = None
        if len(self.strangers) > MOST_STRANGERS:
            oldest = next(iter(self.strangers))
            del self.strangers[oldest]
            self.refused(oldest, f"{MOST_STRANGERS} came after it and it has said no hello")
            oldest.abort()

    def refused(self, connection: ReceivingConnection, why: object) -> None:
        """What a peer said makes no sense, or isn't wanted."""
        self.rubbish.came(connection.peer_address, why, at=connection.local_name)

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
        """Stop listening, end all inputs, cut what is connected. Idempotent.

        What was taken is acknowledged, unless it was abandoned before.
        """
        for server in self._servers:
            server.close()
        for inbox in self.inputs.values():
            inbox.finish()
            inbox.close()
        open_connections = list(self.connections)
        for connection in open_connections:
            connection.acknowledge_now()
            connection.abort()
        for connection in open_connections:
            await connection.wait_closed()


def listen(
    address: str,
    port: int,
    inputs: Iterable[str],
    *,
    queue: int = DEFAULT_QUEUE,
    policy: str = "block",
    limit_bytes: int = MAX_MESSAGE_BYTES,
    timing: Timing | None = None,
) -> Listener:
    """Receive streams at one port, any number for each of `inputs`.

    Args:
        address: IPv4 address to listen at.
        port: TCP port; 0: one that is free, see `Listener.port`.
        inputs: Names that senders may ask for.
        queue: Messages that may wait, per stream.
        policy: `block`: a full queue holds the sender back; `drop-oldest`, `latest` (a queue of
            one): the oldest makes room.
        limit_bytes: Largest message that is accepted.
        timing: Grace periods.

    Example:
        >>> async with listen("0.0.0.0", 9000, ["images"]) as listener:
        ...     async for message in listener.inputs["images"]:
        ...         print(message.value.shape)
    """
    inboxes = [Inbox(name, queue=queue, policy=policy) for name in inputs]
    return Listener([(address, port)], inboxes, limit_bytes, timing)
