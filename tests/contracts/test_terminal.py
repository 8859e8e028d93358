"""Commands in a terminal, and in another setting than the module's, in each real runtime."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator

import pytest
from helpers.workloads import DEADLINE_S, run, until

from otter_agent.errors import ContainerError
from otter_agent.runtimes.setting import Setting, Terminal

pytestmark = pytest.mark.slow


class Session:
    """A command in a terminal: type, and wait for what it shows."""

    def __init__(self, runtime, key) -> None:
        self.runtime, self.key = runtime, key
        self.terminal = Terminal(33, 101)
        self.shown = b""
        self.typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._news = asyncio.Event()

    async def _output(self, fd: int, data: bytes) -> None:
        assert fd == 1
        self.shown += data
        self._news.set()

    async def _stdin(self) -> AsyncIterator[bytes]:
        while data := await self.typed.get():
            yield data

    async def run(self, *argv: str, **setting: object) -> int:
        return await self.runtime.exec(
            self.key, argv, stdin=self._stdin(), output=self._output,
            setting=Setting(terminal=self.terminal, **setting),
        )  # fmt: skip

    async def shows(self, pattern: bytes) -> re.Match[bytes]:
        async with asyncio.timeout(DEADLINE_S):
            while not (found := re.search(pattern, self.shown)):
                self._news.clear()
                try:
                    await self._news.wait()
                except asyncio.CancelledError:
                    raise AssertionError(f"never {pattern!r}: {self.shown!r}") from None
        return found


@pytest.fixture
async def session(real_harness):
    work = real_harness.make_workload("sleeps", env={"OWN": "1"})
    await run(real_harness.runtime, work)
    return Session(real_harness.runtime, work.key)


async def test_it_is_a_terminal_of_the_size_asked_for_from_its_first_moment(session):
    for _ in range(3):  # a race, where there is one
        session.shown = b""
        status = await session.run("sh", "-c", "stty size; tty; exit 7")
        assert status == 7
        assert re.fullmatch(rb"33 101\r\n/dev/pts/\d+\r\n|33 101\r\n/dev/console\r\n",
                            session.shown), session.shown  # fmt: skip


async def test_the_size_follows_and_the_program_is_told(session):
    script = "trap 'stty size; exit 3' WINCH; echo up; while :; do sleep 0.05; done"
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run("sh", "-c", script))
        await session.shows(rb"up")
        session.terminal.resize(11, 44)
        await session.shows(rb"11 44\r\n")
    assert running.result() == 3


async def test_ctrl_c_reaches_the_program_and_jobs_are_controlled(session):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run("sh", "-i"))
        await session.typed.put(b"stty -echo; echo ready-$((1+1))\n")
        await session.shows(rb"ready-2")
        marker = f"{os.getpid()}1000"
        await session.typed.put(f"sleep {marker}\n".encode())
        await until(lambda: there(marker), "sleep runs")
        await session.typed.put(b"\x03")
        await until(lambda: gone(marker), "sleep ended")
        await session.typed.put(b"echo status-$?\n")
        await session.shows(rb"status-130")
        await session.typed.put(b"exit 5\n")
    assert running.result() == 5


async def test_raw_keys_arrive_as_they_are(session):
    """As an editor reads them: no line, no echo, no signal."""
    script = "stty raw -echo; echo ready; head -c 4 | od -An -tx1"
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run("sh", "-c", script))
        await session.shows(rb"ready")
        for key in (b"\x03", b"\x1b", b"\x04", b"\x80"):
            await session.typed.put(key)
    assert running.result() == 0
    assert b"03 1b 04 80" in session.shown


async def test_the_end_of_input_ends_what_reads(session):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run("cat"))
        await session.typed.put(b"line\n")
        await session.shows(rb"line\r\nline\r\n")  # the echo, and cat's
        await session.typed.put(b"")
    assert running.result() == 0


async def test_much_output_arrives_whole(session):
    status = await session.run("seq", "1", "20000")
    assert status == 0
    assert session.shown.split() == [str(n).encode() for n in range(1, 20001)]


async def test_a_command_that_is_not_there(session):
    assert await session.run("no-such-command") == 127


async def test_letting_go_ends_what_runs(session):
    marker = f"{os.getpid()}3600"
    async with asyncio.TaskGroup() as group:
        running = group.create_task(session.run("sh", "-c", f"sleep {marker}"))
        await until(lambda: there(marker), "it runs")
        running.cancel()
    await until(lambda: gone(marker), "it ended")


async def there(word: str) -> bool:
    return bool(processes_with(word))


async def gone(word: str) -> bool:
    return not processes_with(word)


def processes_with(word: str) -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            if word.encode() in file.read():
                found.append(name)
    return found


@pytest.mark.parametrize("in_terminal", [False, True])
async def test_variables_folder_and_user(real_harness, in_terminal):
    work = real_harness.make_workload("sleeps", env={"OWN": "1"})
    await run(real_harness.runtime, work)
    got = bytearray()

    async def output(fd: int, data: bytes) -> None:
        got.extend(data)

    terminal = Terminal() if in_terminal else None
    setting = Setting(
        env={"MORE": "a b", "OWN": "2"}, cwd="/tmp", user="4711:12", terminal=terminal
    )
    argv = ("sh", "-c", "echo $OWN,$MORE; pwd; id -u; id -g")
    status = await real_harness.runtime.exec(
        work.key, argv, stdin=None, output=output, setting=setting
    )
    assert (status, got.decode().split()) == (0, ["2,a", "b", "/tmp", "4711", "12"])


async def test_a_user_that_is_not_there(real_harness):
    work = real_harness.make_workload("sleeps")
    await run(real_harness.runtime, work)

    async def output(fd: int, data: bytes) -> None:
        pass

    status: int | None = None
    with contextlib.suppress(ContainerError):  # else docker tells by output and status
        status = await real_harness.runtime.exec(
            work.key, ("true",), stdin=None, output=output, setting=Setting(user="no-such-user")
        )
    assert status != 0
