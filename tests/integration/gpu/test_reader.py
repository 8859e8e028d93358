"""A reader of GPUs that can't be started, or says what nobody understands, harms nobody else."""

from __future__ import annotations

import asyncio
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
