"""speech_to_text's model runs in a thread of its own, whatever others run in theirs."""

from __future__ import annotations

import asyncio
import sys
import threading
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "modules" / "speech_to_text"
NAMES = ("module", "recordings", "audio", "written")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module's own file, as it is run."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # what importing it sets is unset again
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import module as found  # type: ignore[import-not-found]

    yield found
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A tenth of a second of silence."""
    file = tmp_path / "silence.wav"
    with wave.open(str(file), "wb") as target:
        target.setparams((1, 2, 16_000, 0, "NONE", ""))
        target.writeframes(bytes(3200))
    return file


async def test_each_recording_is_heard_in_the_same_thread(
    module: ModuleType, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads: list[int] = []

    def recognise(sounds: list[Any]) -> list[str]:
        threads.append(threading.get_ident())
        return ["nothing"] * len(sounds)

    one = module.Recording(recording.name, recording)
    mesh = SimpleNamespace(outputs=())
    with ThreadPoolExecutor(1) as own:
        mine = own.submit(threading.get_ident).result()
        ear = module.Ear(mesh, recognise, own, 60.0)
        for _ in range(3):
            async with asyncio.TaskGroup() as group:  # others have theirs meanwhile
                for _ in range(4):
                    group.create_task(asyncio.to_thread(threading.get_ident))
                group.create_task(ear.hear([one]))
    assert threads == [mine] * 3
    assert ear.heard == 3
    assert capsys.readouterr().out.count("heard: nothing") == 3
