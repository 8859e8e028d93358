"""Logs and commands of containers: order, both outputs, long lines, restarts, stdin, exit codes."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from helpers.workloads import log_text, make_workload, run, until_exit

from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import Key

pytestmark = pytest.mark.docker


class Output:
    """Collects what a command prints."""

    def __init__(self):
        self.data = {1: b"", 2: b""}
        self.some = asyncio.Event()

    async def __call__(self, fd, data):
        self.data[fd] += data
        self.some.set()


async def lines_of(*parts):
    for part in parts:
        yield part


async def test_log_lines_have_times_and_no_line_ends(runtime, layout, busybox_image):
    began = time.time()
    script = "echo one; echo two >&2; printf 'three\\r\\n'; printf 'no end'"
    work = make_workload(layout, busybox_image, ("sh", "-c", script))
    await run(runtime, work)
    await until_exit(runtime, work.key)
    lines = [line async for line in runtime.logs(work.key, tail=None, follow=False)]
    assert sorted(line.text for line in lines) == ["no end", "one", "three", "two"]
    for line in lines:
        assert line.module == "mod"
        assert began - 1 < line.time < time.time() + 1


async def test_tail(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image, ("seq", "100"))
    await run(runtime, work)
    await until_exit(runtime, work.key)
    assert len(await log_text(runtime, work.key)) == 100
    last = [line.text async for line in runtime.logs(work.key, tail=3, follow=False)]
    assert last == ["98", "99", "100"]
    assert [line async for line in runtime.logs(work.key, tail=0, follow=False)] == []


async def test_long_and_odd_lines_arrive_whole(runtime, layout, busybox_image):
    script = r"head -c 100000 /dev/zero | tr '\0' x; echo; printf '\377\n'; printf 'a b  c\n'"
    work = make_workload(layout, busybox_image, ("sh", "-c", script))
    await run(runtime, work)
    await until_exit(runtime, work.key)
    odd = "\N{REPLACEMENT CHARACTER}"
    assert await log_text(runtime, work.key) == ["x" * 100000, odd, "a b  c"]


async def test_follow_goes_on_through_a_restart_and_ends_with_removal(
    runtime, layout, busybox_image
):
    work = make_workload(layout, busybox_image, ("sh", "-c", "read x < /work/pipe; echo $x"))
    os.mkfifo(work.paths.work / "pipe")
    seen: list[str] = []
    news = asyncio.Event()

    async def follow():
        async for line in runtime.logs(work.key, tail=None, follow=True):
            seen.append(line.text)
            news.set()

    async def life(text):
        await runtime.start(work.key)
        await runtime.release(work.key)
        await asyncio.to_thread((work.paths.work / "pipe").write_text, f"{text}\n")
        await until_exit(runtime, work.key)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        await runtime.create(work)
        following = group.create_task(follow())
        for text in ("first", "second", "third"):
            await life(text)
        while seen != ["first", "second", "third"]:
            news.clear()
            await news.wait()
        assert not following.done()
        await runtime.remove(work.key)
        await following
    assert seen == ["first", "second", "third"]


async def test_log_of_nothing_is_empty(runtime):
    assert await log_text(runtime, Key("m", "absent")) == []


async def test_exec_has_both_outputs_status_and_the_modules_surroundings(
    runtime, layout, busybox_image
):
    work = make_workload(layout, busybox_image, module="place")
    await run(runtime, work)
    out = Output()
    argv = ["sh", "-c", "hostname; echo bad >&2; ls /run/otter/wiring.json; exit 5"]
    assert await runtime.exec(work.key, argv, stdin=None, output=out) == 5
    assert out.data == {1: b"place\n/run/otter/wiring.json\n", 2: b"bad\n"}


async def test_exec_stdin_ends_alone(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    await run(runtime, work)
    out = Output()
    big = b"0123456789abcdef" * 65536
    status = await runtime.exec(
        work.key, ["sh", "-c", "wc -c; echo after"], stdin=lines_of(b"a", big), output=out
    )
    assert (status, out.data[1]) == (0, f"{len(big) + 1}\nafter\n".encode())


async def test_exec_may_end_without_reading(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    await run(runtime, work)

    async def endless():
        while True:
            yield b"x" * 65536

    assert await runtime.exec(work.key, ["true"], stdin=endless(), output=Output()) == 0


@pytest.mark.parametrize(("argv", "status"), [
    (["no-such-program"], 127),
    (["/no/such/program"], 127),
    (["/tmp"], 126),
    (["sh", "-c", "kill -9 $$"], 137),
])  # fmt: skip
async def test_exec_status(runtime, layout, busybox_image, argv, status):
    work = make_workload(layout, busybox_image)
    await run(runtime, work)
    out = Output()
    assert await runtime.exec(work.key, argv, stdin=None, output=out) == status
    assert out.data[1] == b""


async def test_exec_cancelled_leaves_no_process(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    up = await run(runtime, work)
    out = Output()
    argv = ["sh", "-c", "echo up; sleep 3600; true"]
    task = asyncio.Task(runtime.exec(work.key, argv, stdin=None, output=out))
    async with asyncio.timeout(20):
        await out.some.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    group = "m/host/mod"
    async with asyncio.timeout(20):
        while runtime._cgroups.pids(group) != {up.pid}:
            await asyncio.sleep(0.01)


async def test_exec_in_a_stopped_module_is_refused(runtime, layout, busybox_image):
    work = make_workload(layout, busybox_image)
    await run(runtime, work)
    await runtime.stop(work.key, 0)
    with pytest.raises(ContainerError, match="is not running") as caught:
        await runtime.exec(work.key, ["true"], stdin=None, output=Output())
    assert caught.value.hint


async def test_exec_of_a_command_that_closes_its_outputs_and_goes_on(
    runtime, layout, busybox_image
):
    work = make_workload(layout, busybox_image)
    await run(runtime, work)

    async def ignore(fd: int, data: bytes) -> None:
        return None

    argv = ("sh", "-c", "exec >&- 2>&-; sleep 0.5; exit 4")
    assert await runtime.exec(work.key, argv, stdin=None, output=ignore) == 4
