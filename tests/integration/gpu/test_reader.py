"""A reader of GPUs that can't be started, or says what nobody understands, harms nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import pytest
from helpers import nvml
from helpers.folders import signalled

from otter_agent import api
from otter_agent.gpu import __main__ as reader
from otter_agent.gpu import watch
from otter_agent.gpu.words import Line, News

NONSENSE = "#!/bin/sh\necho 'NVRM: hello'\nexec cat\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "can't be started"), (NONSENSE, "isn't understood")],
)
async def test_it_is_told_and_tried_again(
    text: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    if text is not None:
        program.write_text(text)
        program.chmod(0o755)
    monkeypatch.setattr("otter_agent.gpu.watch.sys.executable", str(program))
    told = list[News]()
    gpus = watch.Gpus(tmp_path, told.append, lambda: tmp_path)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:  # it ends with an error of `run`
        running = group.create_task(gpus.run())
        while why not in (state := await gpus.state()).why:
            await asyncio.sleep(0)
        assert state.gpus == ()
        running.cancel()


ANSWERS_ONCE = """#!/bin/sh
[ -e {mark} ] || exit 1
echo $$ >{pid}
echo '{{}}'
read -r line
echo '{{"state": {{"driver": "nvml", "gpus": [{{"index": 0}}]}}}}'
exec cat >/dev/null
"""


@pytest.mark.parametrize("goes", ["readers", "library"])
async def test_a_driver_that_goes_without_a_readers_word_is_told_and_so_is_its_return(
    goes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one beneath which its library crashes, and as one that is taken away."""
    program, mark, pid = (tmp_path / name for name in ("python", "mark", "pid"))
    program.write_text(ANSWERS_ONCE.format(mark=mark, pid=pid))
    program.chmod(0o755)
    mark.touch()
    monkeypatch.setattr("otter_agent.gpu.watch.sys.executable", str(program))
    monkeypatch.setattr(watch, "LOOK_S", 0.1)
    told = asyncio.Queue[News]()
    library: list[Path] = [tmp_path]
    gpus = watch.Gpus(tmp_path, told.put_nowait, lambda: library[0] if library else None)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        running = group.create_task(gpus.run())
        while not (await gpus.state()).gpus:
            await asyncio.sleep(0)
        mark.unlink()
        if goes == "library":
            library.clear()
        os.kill(int(pid.read_text()), signal.SIGKILL)
        lost = await told.get()
        assert (lost.kind, lost.index) == ("lost", None)
        assert (lost.text == watch.NO_DRIVER) == (goes == "library")
        mark.touch()
        library[:] = [tmp_path]
        while not (await gpus.state()).gpus:
            await asyncio.sleep(0)
        assert (await told.get()).kind == "back"
        running.cancel()
    assert told.empty()


STARTS_SLOWLY = """#!/bin/sh
echo started >{started}
read -r go <{go}
echo '{{}}'
read -r line
echo '{{"state": {{"driver": "nvml", "gpus": [{{"index": 0}}]}}}}'
exec cat >/dev/null
"""


@asynccontextmanager
async def asked_slow_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One that has been started and has yet to begin, what it was asked, and its news."""
    program, started, go = (tmp_path / name for name in ("python", "started", "go"))
    program.write_text(STARTS_SLOWLY.format(started=started, go=go))
    program.chmod(0o755)
    os.mkfifo(started)
    os.mkfifo(go)
    monkeypatch.setattr("otter_agent.gpu.watch.sys.executable", str(program))
    told = list[News]()
    gpus = watch.Gpus(tmp_path, told.append, lambda: tmp_path)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(gpus.run())
        await signalled(started)
        asking = group.create_task(gpus.state())
        await asyncio.sleep(0)
        yield asking, go, told
        running.cancel()


async def test_one_that_starts_slowly_is_no_driver_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ANSWER_S", 0.0)  # patience for answers has run out by now
    async with asked_slow_reader(tmp_path, monkeypatch) as (asking, go, told):
        monkeypatch.setattr(watch, "ANSWER_S", 60.0)
        await asyncio.to_thread(go.write_text, "go\n")
        state = await asking
        assert (len(state.gpus), state.why) == (1, "")
        assert told == []


async def test_one_that_never_begins_is_given_up_and_no_loss_of_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "START_S", 0.01)
    async with asked_slow_reader(tmp_path, monkeypatch) as (asking, _, told):
        state = await asking
        assert (state.driver, state.gpus) == ("none", ())
        assert state.why == "what reads GPUs hasn't begun within 0.01 s"
        assert told == []


async def test_a_driver_that_hangs_as_it_is_opened_is_met_after_an_answers_patience(
    machine: nvml.Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real reader says that it has begun before it asks the driver."""
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)
    machine.tell("hang init 1000\ngpu GPU-1 NVIDIA L4\n")
    monkeypatch.setattr(watch, "ANSWER_S", 0.1)
    monkeypatch.setattr(watch, "START_S", 60.0)
    told = list[News]()
    gpus = watch.Gpus(tmp_path, told.append, lambda: machine.library)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(gpus.run())
        state = await gpus.state()
        running.cancel()
    assert state.why == "NVIDIA's driver hasn't answered for 0.1 s"


def test_what_is_there_where_no_agent_runs_is_read_once(
    machine: nvml.Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in machine.env.items():
        monkeypatch.setenv(name, value)
    machine.tell("gpu GPU-1 NVIDIA L4\n")
    state = watch.once(lambda: machine.library)
    assert [gpu.uuid for gpu in state.gpus] == ["GPU-1"]


class Done(Exception):  # noqa: N818
    """The listener has looked often enough."""


class LateThread:
    """One that gets round to what it is for when the test says so."""

    made: ClassVar[list[Callable[[], None]]] = []

    def __init__(self, *, target: Callable[..., None], args: tuple[Any, ...] = (), daemon: bool):
        self.made.append(lambda: target(*args))

    def start(self) -> None:
        """Not yet."""


def test_a_gpu_lost_between_the_first_answer_and_the_first_look_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {0: "GPU-1", 1: "GPU-2"}
    said = list[Line]()
    looks: Iterator[None] = iter([None])

    def event(_: Any) -> None:
        try:
            return next(looks)
        except StopIteration:
            raise Done from None

    monkeypatch.setattr(LateThread, "made", [])
    monkeypatch.setattr(reader.threading, "Thread", LateThread)
    monkeypatch.setattr(reader.nvml, "opened", nullcontext)
    monkeypatch.setattr(reader.nvml, "answering", lambda: dict(there))
    monkeypatch.setattr(reader.nvml, "read", api.GpuState)
    monkeypatch.setattr(reader, "_orders", lambda: [b""])
    monkeypatch.setattr(reader, "_say", said.append)
    monkeypatch.setattr(reader, "_next", event)
    assert reader.main() == 0
    assert [line for line in said if line.news] == []
    del there[1]
    (listen,) = LateThread.made
    with pytest.raises(Done):
        listen()
    assert [(n.kind, n.index, n.uuid) for line in said if (n := line.news)] == [
        ("lost", 1, "GPU-2")
    ]
