"""How a connection is kept, given up and dialled again; how many are dialled at the same time."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import asyncssh
import pytest

from otter_ctl.dialling import Throttle
from otter_ctl.errors import MachineUnreachable
from otter_ctl.ssh import Road
from otter_ctl.topology.model import Machine


class Door:
    """An SSH server behind a port that may let nobody in, hang up, or fall silent.

    Attributes:
        knocks: When somebody connected.
        at_once: How many were being let in at the same time, at most.
        hang_up: So many are left without a word.
    """

    def __init__(self, folder) -> None:
        self.folder = folder
        self.knocks: list[float] = []
        self.at_once = self.now = 0
        self.hang_up = 0
        self.silent = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.group: asyncio.TaskGroup | None = None
        self.port = self.behind = 0

    def machine(self, more: str = "", name: str = "box") -> Machine:
        """As a site file has it."""
        (self.folder / "key").write_bytes(self.key.export_private_key())
        (self.folder / "key").chmod(0o600)
        public = self.host_key.export_public_key().decode()
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {public}")
        config = self.folder / "config"
        config.write_text(
            f"Host box*\n  HostName 127.0.0.1\n  Port {self.port}\n  User ada\n{more}"
            f"  IdentityFile {self.folder}/key\n  UserKnownHostsFile {self.folder}/known\n"
        )
        return Machine(name=name, ssh=name, ssh_config=str(config))

    def came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody knocks."""
        self.knocks.append(time.monotonic())
        if self.hang_up:
            self.hang_up -= 1
            writer.transport.abort()
            return
        assert self.group is not None
        self.group.create_task(self._carry(reader, writer))

    async def _carry(self, reader, writer) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        self.writers += [writer, inner_writer]
        async with asyncio.TaskGroup() as both:
            both.create_task(self._copy(reader, inner_writer))
            both.create_task(self._copy(inner_reader, writer))

    async def _copy(self, reader, writer) -> None:
        try:
            while data := await reader.read(1 << 16):
                if not self.silent.is_set():
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        writer.close()

    def break_off(self) -> None:
        """All connections end at once."""
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()


class _Server(asyncssh.SSHServer):
    """Counts who is being let in: from the keys' exchange to the end of the login."""

    def __init__(self, door: Door) -> None:
        self.door = door

    def connection_made(self, conn) -> None:
        self.door.now += 1
        self.door.at_once = max(self.door.at_once, self.door.now)

    def auth_completed(self) -> None:
        self.door.now -= 1


@pytest.fixture
async def door(tmp_path):
    async with opened(Door(tmp_path)) as one:
        yield one


@asynccontextmanager
async def opened(door: Door):
    keys = asyncssh.import_authorized_keys(door.key.export_public_key().decode())

    async def answer(process) -> None:
        process.stdout.write(process.command)
        process.exit(0)

    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=lambda: _Server(door), server_host_keys=[door.host_key],
        authorized_client_keys=keys, process_factory=answer,
    )  # fmt: skip
    door.behind = server.get_port()
    try:
        async with asyncio.TaskGroup() as group:
            door.group = group
            front = await asyncio.start_server(door.came, "127.0.0.1", 0)
            door.port = front.sockets[0].getsockname()[1]
            yield door
            front.close()
            door.break_off()
    finally:
        server.close()
        await server.wait_closed()


async def test_one_that_hangs_up_is_dialled_again_after_pauses_that_grow(door):
    door.hang_up = 3
    async with Road(door.machine()) as road:
        assert (await road.run("hello")).stdout == b"hello"
    pauses = [b - a for a, b in zip(door.knocks, door.knocks[1:], strict=False)]
    assert len(pauses) == 3
    for pause, least in zip(pauses, (0.25, 0.5, 1.0), strict=True):
        assert pause >= least


async def test_one_that_always_hangs_up_is_given_up(door):
    door.hang_up = 100
    async with Road(door.machine()) as road:
        with pytest.raises(MachineUnreachable, match="the connection closed at once"):
            await road.run("hello")
    assert len(door.knocks) == 4


async def test_a_connection_that_breaks_is_made_anew_when_it_is_needed(door):
    async with Road(door.machine()) as road:
        assert (await road.run("one")).stdout == b"one"
        assert (await road.run("two")).stdout == b"two"
        assert len(door.knocks) == 1
        connection = await road.connect()
        door.break_off()
        await connection.wait_closed()
        assert (await road.run("three")).stdout == b"three"
        assert len(door.knocks) == 2


async def test_so_many_and_no_more_are_dialled_at_the_same_time(door):
    throttle = Throttle(3)
    machines = [door.machine(name=f"box{number}") for number in range(12)]

    async def say(number: int) -> bytes:
        async with Road(machines[number], throttle) as road:
            return (await road.run(str(number))).stdout

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(say(number)) for number in range(12)]
    assert [task.result() for task in tasks] == [str(n).encode() for n in range(12)]
    assert 2 <= door.at_once <= 3


async def test_one_that_falls_silent_is_noticed_as_the_configuration_says(door):
    machine = door.machine("  ServerAliveInterval 1\n  ServerAliveCountMax 1\n")
    async with Road(machine) as road:
        connection = await road.connect()
        door.silent.set()
        async with asyncio.timeout(20):
            await connection.wait_closed()
        door.silent.clear()
        assert (await road.run("again")).stdout == b"again"


async def test_one_that_never_answers_is_given_up_in_the_time_that_the_configuration_gives(door):
    door.silent.set()
    began = time.monotonic()
    async with Road(door.machine("  ConnectTimeout 1\n")) as road:
        with pytest.raises(MachineUnreachable, match="it gives no answer"):
            await road.run("hello")
    assert 1 <= time.monotonic() - began < 5
