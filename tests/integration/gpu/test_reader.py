"""A reader of GPUs that can't be started, or says what nobody understands, harms nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from otter_agent.gpu import watch
from otter_agent.gpu.words import News

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
