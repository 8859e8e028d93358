"""Peers that misbehave or vanish, readers that are slow, clocks that step: over real TCP."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest

from net import datagram, stream, wire
from net.errors import TransportError
from net.inbox import Edge
from net.messages import Parcel
from net.shared.listener import Door, SharedListener
from net.shared.sender import SharedSender
from net.tcp.connection import Connection
from net.tcp.pulse import Pulse
from net.values import pack

HERE = "127.0.0.1"
FAST = stream.Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.3)
pytestmark = pytest.mark.timeout(60)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


async def test_a_thousand_connects_and_drops_leave_nothing():
    """Some without a word, some with half of one, some in the middle of a message."""
    said = [
        b"", wire.hello("s", "y", "a")[:30], wire.hello("s", "y", "a"),
        wire.hello("s", "y", "a") + bytes(20), wire.hello("s", "nobody", "a"),
    ]  # fmt: skip
    async with stream.listen(HERE, 0, ["y"], timing=FAST) as listener:
        before = descriptors()
        for number in range(1000):
            reader, writer = await asyncio.open_connection(HERE, listener.port)
            writer.write(said[number % len(said)])
            if number % 3 == 0:
                await writer.drain()
                await asyncio.sleep(0)  # the listener may read some of it, or not
            writer.transport.abort()
            del reader
        async with stream.connect(
            HERE, listener.port, input="y", sender="honest", timing=FAST
        ) as out:
            await out.send("still here")
            assert (await listener.inputs["y"].take()).value == "still here"
            assert await out.aclose()
        for connection in [*listener.connections]:
            await connection.wait_closed()
        assert descriptors() <= before


def woken_for(port):
    """Bytes for which the kernel wakes the one that hears at a port."""
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(fd))) as sock:
                if sock.getsockname()[1:] == (port,) and sock.getpeername():
                    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
    return 0


async def test_half_of_a_large_array_wakes_nobody_for_every_piece():
    """Nor does the last of it wait for more than there is."""
    value = np.arange(512 * 1024)
    parcel = Parcel(pack(value), 7, 1, made=1.0)
    said = b"".join(wire.encode(parcel, seq=1, queued=1.0, sent=2.0))
    async with stream.listen(HERE, 0, ["y"], timing=FAST) as listener:
        _, writer = await asyncio.open_connection(HERE, listener.port)
        writer.write(wire.hello("s", "y", "a") + said[: len(said) // 2])
        while woken_for(listener.port) < 2**20:
            await asyncio.sleep(0.001)  # the kernel tells nobody of its socket's option
        writer.write(said[len(said) // 2 :])
        got = (await listener.inputs["y"].take()).value
        np.testing.assert_array_equal(got, value)
        assert woken_for(listener.port) == 1
        writer.close()


@asynccontextmanager
async def both_ends(transport, folder, clock):
    """An input and a sender to it, by a clock of their own."""
    box = stream.Inbox("y", [Edge("a>y", transport=transport)], clock=clock)
    more = {"stream": "a>y", "input": "y", "sender": "a", "timing": FAST, "clock": clock}
    if transport == "shm":
        door = Door(str(folder / "s.sock"), box, "a>y")
        hears = SharedListener([door], timing=FAST, clock=clock)
    elif transport == "udp":
        hears = datagram.Endpoint([(HERE, 0)], [box], clock=clock)
    else:
        hears = stream.Listener([(HERE, 0)], [box], timing=FAST, clock=clock)
    async with hears:
        if transport == "shm":
            out = SharedSender(door.path, **more)
        elif transport == "udp":
            out = datagram.Sender(HERE, hears.port, **more)
        else:
            out = stream.Sender(HERE, hears.port, **more)
        try:
            yield box, out
        finally:
            out.abort()
            await out.aclose()


@pytest.mark.parametrize("transport", ["tcp", "udp", "shm"])
async def test_a_clock_that_steps_loses_and_reorders_nothing(transport, tmp_path):
    now = [1.8e9]
    async with both_ends(transport, tmp_path, lambda: now[0]) as (box, out):

        async def send(number, value, expires=0.0):
            await out.deliver(Parcel(pack(value), 7, number, made=now[0], expires=expires))

        for number, step in enumerate((0, -900.0, 1e6, -1e6, 5.0) * 4):
            now[0] += step
            await send(number, number)
            assert (await box.take()).value == number
        await send(20, "with a deadline", now[0] + 10.0)
        now[0] -= 500.0
        assert (await box.take()).value == "with a deadline"
        summary = box.edges["a>y"].stats.summary(now[0])
        assert (summary["messages"], summary["transport"]) == (21, transport)
        for latencies in summary["latency"].values():
            assert min(latencies.values()) >= 0
        assert out.stats().messages == 21


@pytest.mark.usefixtures("unknown_names")
async def test_a_name_that_is_not_found_is_told_with_the_name():
    out = stream.connect("no-such-host.invalid", 7, input="y", sender="a", timing=FAST)
    with pytest.raises(TransportError, match=r"no-such-host\.invalid:7"):
        await out.open()
    assert not await out.aclose()


async def test_an_acknowledgement_counts_though_nobody_listens_any_more():
    """What came before the end is heard, though writing finds the end first."""
    loop = asyncio.get_running_loop()
    with socket.create_server((HERE, 0)) as server:
        server.setblocking(False)
        out = stream.connect(
            HERE, server.getsockname()[1], input="y", sender="a", timing=FAST
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(out.send("first"))
            peer, _ = await loop.sock_accept(server)
            peer.sendall(wire.accept(2**20, 0))
            await sending
            connection = out._connection
            # All of this while the sender has no turn.
            peer.sendall(wire.ack(1))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            assert not connection.post(b"more")
            await connection.wait_closed()
            assert out.stats().waiting == 0
            out.abort()
            await out.aclose()


def fill(sock):
    """Write as much as the kernel takes, for an end that reads nothing."""
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(2**16))


def told_of(sock, at):
    """A number of the kernel's about a connection of TCP, of its struct tcp_info."""
    return struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60), at)[0]


def outstanding(sock):
    """Packets that have been sent and not acknowledged (tcpi_unacked)."""
    return told_of(sock, 24)


def silent_s(sock):
    """Since the other end last acknowledged something (tcpi_last_ack_recv)."""
    return told_of(sock, 56) / 1000


async def test_a_receiver_that_is_only_slow_is_not_taken_for_dead():
    """With a window of zero there is nothing to acknowledge, whatever waits here."""
    told = []
    with (
        socket.create_server((HERE, 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
        server.accept()[0],
    ):
        ours.setblocking(False)
        fill(ours)
        pulse = Pulse(ours, 60.0, told.append)
        while outstanding(ours) or silent_s(ours) <= 0.1:
            fill(ours)
            await asyncio.sleep(0.01)  # the kernel tells nobody that it has sent
        pulse._dead_s = 0.1
        pulse._look()
        pulse.stop()
    assert told == []


@pytest.mark.parametrize(("probes", "gone"), [(2, False), (3, True)])
async def test_a_receiver_without_room_that_answers_no_probe_is_gone(probes, gone):
    told = []
    with socket.socket() as sock:
        look = Unanswered(sock, probes)
        pulse = Pulse(look, 16.0, told.append)
        pulse._look()
        pulse.stop()
    assert [str(error) for error in told] == ["nothing heard for 17 s"] * gone


async def test_where_the_kernel_does_not_tell_what_it_has_sent_all_that_is_kept_counts(monkeypatch):
    told = []

    def older(fd, request, kept):
        if request == 0x894B:  # SIOCOUTQNSD
            raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")
        kept[0] = 5
        return 0

    monkeypatch.setattr(fcntl, "ioctl", older)
    with socket.socket() as sock:
        pulse = Pulse(Unanswered(sock, 0), 16.0, told.append)
        pulse._look()
        pulse.stop()
    assert [str(error) for error in told] == ["nothing heard for 17 s"]


class Unanswered:
    """A socket of which the kernel says that it has sent so many probes, for 17 s."""

    def __init__(self, sock, probes):
        self.fileno, self.setsockopt = sock.fileno, sock.setsockopt
        self.info = struct.pack("=3xB52xI", probes, 17_000)

    def getsockopt(self, level, option, size):
        return self.info


async def test_who_has_said_hello_while_we_stood_still_is_heard():
    """It lies in the kernel when our patience is over."""
    async with stream.listen(HERE, 0, ["y"], timing=FAST) as listener:
        with socket.create_connection((HERE, listener.port)) as peer:
            while not listener.strangers:
                await asyncio.sleep(0)  # a turn of the loop, or two
            (connection,) = listener.strangers
            peer.sendall(wire.hello("s", "y", "a"))
            connection._lose_patience()
            assert connection.alive
            assert not listener.strangers


async def test_it_never_takes_itself_for_its_receiver():
    """On loopback the kernel may give a dialing socket the very port that it dials."""
    loop = asyncio.get_running_loop()
    taken = socket.socket()
    taken.bind((HERE, 0))
    taken.connect(taken.getsockname())  # TCP's simultaneous open, with itself

    class Heard(Connection):
        def on_event(self, event):
            raise AssertionError(event)

    _, connection = await loop.create_connection(Heard, sock=taken)
    assert connection.is_itself
    connection.abort()
    await connection.wait_closed()
    async with stream.listen(HERE, 0, ["y"]) as listener:
        _, connection = await loop.create_connection(Heard, HERE, listener.port)
        assert not connection.is_itself
        connection.abort()
        await connection.wait_closed()


async def test_a_port_that_is_taken_is_an_error_with_its_address():
    async with stream.listen(HERE, 0, ["y"]) as listener:
        with pytest.raises(TransportError, match=f"{HERE}:{listener.port}: can't listen"):
            async with stream.listen(HERE, listener.port, ["y"]):
                pass


@pytest.mark.usefixtures("unknown_names")
async def test_an_address_that_makes_no_sense_is_an_error_not_a_retry():
    with pytest.raises(TransportError, match="can't connect"):
        await stream.Sender("999.1.1.1", 1, stream="s", input="y", sender="a").send(1)
