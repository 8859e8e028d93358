"""Names of the outside world, asked across the mesh of the machine's own name servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from helpers import netns, outside

from otter_agent.network import Network
from otter_agent.network.outside import lookups
from otter_agent.network.outside.config import RESOLVER, config_of
from otter_agent.network.outside.relay import Relay

pytestmark = pytest.mark.timed

FIRST, SECOND = "127.77.0.1", "127.77.0.2"
"""Of this machine's loopback, as a local resolver's is; nothing else is there."""


@pytest.fixture
def agent() -> Iterator[Network]:
    with netns.network() as made:
        yield made


def query(number: int, size: int = 0) -> bytes:
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + b"\7example\0\0\1\0\1" + bytes(size)


@contextlib.contextmanager
def server(address: str, answers: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """A name server over UDP and TCP."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server((address, 53)) as tcp,
    ):
        udp.bind((address, 53))

        def hear() -> None:
            with contextlib.suppress(OSError):
                while said := udp.recvfrom(4096):
                    if not said[0]:
                        return
                    answer = answers(said[0])
                    if answer is not None:
                        udp.sendto(answer, said[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with tcp.accept()[0] as connection:
                        connection.sendall(answers(connection.recv(4096)) or b"")

        threads = [threading.Thread(target=work, daemon=True) for work in (hear, accept)]
        for thread in threads:
            thread.start()
        yield
        udp.sendto(b"", udp.getsockname())
        tcp.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)


def says(mark: bytes) -> Callable[[bytes], bytes]:
    return lambda asked: asked[:2] + mark


@contextlib.asynccontextmanager
async def relayed(agent: Network, servers: Sequence[str]):
    """A module whose gateway asks `servers`."""
    spec = outside.mesh("names")
    await asyncio.to_thread(agent.converge, spec)
    relay = Relay(asyncio.get_running_loop(), lambda: list(servers))
    try:
        assert relay.apply(config_of(agent._agent_id, spec)).problems == ()
        with outside.module(agent, spec) as pid:
            yield pid
    finally:
        relay.close()


def ask(pid: int, *numbers: int) -> dict[int, bytes]:
    """Several questions from one socket, as the C library asks for both kinds of address."""
    with netns.socket_in(pid, socket.SOCK_DGRAM) as asker:
        asker.connect((RESOLVER, 53))
        for number in numbers:
            asker.send(query(number))
        answers = [asker.recv(4096) for _ in numbers]
    return {int.from_bytes(a[:2], "big"): a for a in answers}


async def test_the_machines_loopback_server_answers_over_udp_and_tcp(agent) -> None:
    with server(FIRST, says(b"answer")):
        async with relayed(agent, [FIRST]) as pid:
            found = await asyncio.to_thread(ask, pid, 1, 2)
            assert found == {1: b"\0\1answer", 2: b"\0\2answer"}

            def by_tcp() -> bytes:
                with netns.socket_in(pid, socket.SOCK_STREAM) as asker:
                    asker.connect((RESOLVER, 53))
                    asker.sendall(query(3))
                    return asker.makefile("rb").read()

            assert await asyncio.to_thread(by_tcp) == b"\0\3answer"


async def test_where_nobody_listens_the_next_is_asked_at_once(agent, monkeypatch) -> None:
    monkeypatch.setattr(lookups, "PATIENCE_S", 600.0)  # were it waited for, `ask` would give up
    with server(SECOND, says(b"second")):
        async with relayed(agent, [FIRST, SECOND]) as pid:
            found = await asyncio.to_thread(ask, pid, 1, 2)
            assert found == {1: b"\0\1second", 2: b"\0\2second"}


async def test_a_silent_server_gives_way_to_the_next(agent) -> None:
    with server(FIRST, lambda asked: None), server(SECOND, says(b"second")):
        async with relayed(agent, [FIRST, SECOND]) as pid:
            assert await asyncio.to_thread(ask, pid, 5) == {5: b"\0\5second"}


@pytest.mark.parametrize("servers", [[], [FIRST], [FIRST, SECOND]])
async def test_without_any_server_the_answer_is_failure_at_once(
    agent, servers, monkeypatch
) -> None:
    monkeypatch.setattr(lookups, "PATIENCE_S", 600.0)
    async with relayed(agent, servers) as pid:
        found = await asyncio.to_thread(ask, pid, 1, 2)
        assert {n: a[3] & 0x0F for n, a in found.items()} == {1: 2, 2: 2}  # SERVFAIL
