"""Models of modules run in a thread of their own, whatever others run in theirs."""

from __future__ import annotations

import asyncio
import sys
import threading
import wave
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from net.computing import OneThread

MODULES = Path(__file__).parents[3] / "modules"


@pytest.fixture
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module's own file, as it is run."""
    folder = MODULES / request.param
    names = [file.stem for file in folder.glob("*.py")]
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # what importing it sets is unset again
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import module as found  # type: ignore[import-not-found]

    yield found
    for name in names:
        sys.modules.pop(name, None)


class Model:
    """Any of them: notes in which thread it ran."""

    rate_hz = 24_000  # of a voice

    def __init__(self) -> None:
        self.threads: list[int] = []

    def _ran(self) -> None:
        self.threads.append(threading.get_ident())

    def hear(self, sounds: list[Any]) -> list[str]:
        self._ran()
        return ["nothing"] * len(sounds)

    def __call__(self, text: str) -> Any:
        self._ran()
        return np.zeros(240, np.float32)

    def answer(self, pictures: Any, asked: list[str]) -> list[Any]:
        self._ran()
        return [SimpleNamespace(text="a cat", seen="a cat")] * len(asked)


async def runs(model: Model, compute: OneThread, work: Callable[[], Awaitable[None]]) -> None:
    """Three times; others have their threads meanwhile."""
    mine = await compute(threading.get_ident)
    for _ in range(3):
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(asyncio.to_thread(threading.get_ident))
            group.create_task(work())  # type: ignore[arg-type]
    assert model.threads == [mine] * 3


@pytest.mark.parametrize("module", ["speech_to_text"], indirect=True)
async def test_each_recording_is_heard_in_the_same_thread(
    module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "silence.wav"
    with wave.open(str(file), "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(bytes(3200))
    model, compute = Model(), OneThread()
    ear = module.Ear(SimpleNamespace(outputs=()), model.hear, compute, 60.0)
    await runs(model, compute, lambda: ear.hear([module.Recording(file.name, file)]))
    assert ear.heard == 3
    assert capsys.readouterr().out.count("heard: nothing") == 3


@pytest.mark.parametrize("module", ["text_to_speech"], indirect=True)
async def test_each_text_is_said_in_the_same_thread(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    model, compute = Model(), OneThread()
    mouth = module.Mouth(SimpleNamespace(outputs=(), work=tmp_path), model, compute)
    await runs(model, compute, lambda: mouth.say(SimpleNamespace(value="It is a cat.")))
    assert len(list(tmp_path.glob("outputs/answer-?.wav"))) == 3


@pytest.mark.parametrize("module", ["image_analysis"], indirect=True)
async def test_each_question_is_answered_in_the_same_thread(
    module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "inputs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "inputs" / "picture.png")
    model, compute = Model(), OneThread()
    mesh = SimpleNamespace(inputs=(), outputs=(), work=tmp_path)
    desk = module.Desk(mesh, model, compute)
    asked = SimpleNamespace(value="What is it?", done=lambda: None)
    await runs(model, compute, lambda: desk._answer([asked]))
    assert capsys.readouterr().out.count("answer: a cat") == 3
