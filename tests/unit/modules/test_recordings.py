"""Recordings are taken as soon as they are whole, and not before; each once."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "modules" / "speech_to_text"
NEVER_S = 1000.0


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """As the module imports it, from its own folder."""
    names = ("recordings", "audio", "written")
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import recordings as found  # type: ignore[import-not-found]

    yield found
    for name in names:
        sys.modules.pop(name, None)


@asynccontextmanager
async def listening(recordings: ModuleType, work: Path, **more: Any) -> AsyncIterator[Any]:
    """What collects them, after its first look at the folder."""
    (work / "inputs").mkdir()
    mesh = SimpleNamespace(work=work, inputs=())
    found = recordings.Recordings(mesh, "inputs/*.wav", stay=True, **more)
    looked = asyncio.Event()
    loop, look = asyncio.get_running_loop(), found._look

    def tell() -> list[Path]:
        loop.call_soon_threadsafe(looked.set)
        return look()

    found._look = tell
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(found.collect())
        await looked.wait()
        yield found
        task.cancel()


async def names(found: Any) -> list[str]:
    return [one.name for one in await found.batch(4)]


async def test_a_file_is_taken_when_it_is_moved_there(recordings, monkeypatch, tmp_path):
    monkeypatch.setattr(recordings, "LOOK_S", NEVER_S)  # nobody looks by chance
    async with listening(recordings, tmp_path) as found:
        (tmp_path / "new").write_bytes(b"sound")
        os.replace(tmp_path / "new", tmp_path / "inputs" / "a.wav")
        assert await names(found) == ["a.wav"]


async def test_a_file_is_taken_when_who_writes_it_has_closed_it(recordings, monkeypatch, tmp_path):
    monkeypatch.setattr(recordings, "LOOK_S", NEVER_S)
    async with listening(recordings, tmp_path) as found:
        with (tmp_path / "inputs" / "a.wav").open("wb") as half:
            half.write(b"so")
            half.flush()
            (tmp_path / "inputs" / "b.wav").write_bytes(b"sound")
            (tmp_path / "inputs" / "c.txt").write_bytes(b"no sound")
            assert await names(found) == ["b.wav"]
            half.write(b"und")
        assert await names(found) == ["a.wav"]


async def test_a_file_that_gets_its_times_last_is_taken_once(recordings, tmp_path):
    """`cp -p` sets them after it has closed it; a later change is another recording."""
    (tmp_path / "old.wav").write_bytes(b"sound")
    os.utime(tmp_path / "old.wav", (1e9, 1e9))
    async with listening(recordings, tmp_path) as found:
        target = tmp_path / "inputs" / "a.wav"
        shutil.copy2(tmp_path / "old.wav", target)
        assert await names(found) == ["a.wav"]
        (tmp_path / "inputs" / "b.wav").write_bytes(b"sound")
        assert await names(found) == ["b.wav"]
        target.write_bytes(b"another sound")
        assert await names(found) == ["a.wav"]


@pytest.mark.slow
async def test_where_nothing_is_told_the_folder_is_looked_at(recordings, monkeypatch, tmp_path):
    """As on a network's file system: a watch of another folder hears as much."""
    import written  # type: ignore[import-not-found]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(recordings, "Written", lambda folder: written.Written(elsewhere))
    async with listening(recordings, tmp_path) as found:
        (tmp_path / "inputs" / "a.wav").write_bytes(b"sound")
        assert await names(found) == ["a.wav"]


async def test_no_watch_is_no_error(recordings, tmp_path):
    import written

    with written.Written(tmp_path / "nowhere") as told:
        assert await told.within(0.01) == set()


async def test_a_watch_leaves_no_descriptor(recordings, tmp_path):
    import written

    before = os.listdir("/proc/self/fd")
    with written.Written(tmp_path) as told:
        (tmp_path / "a").write_bytes(b"")
        assert await told.within(10) == {"a"}
    assert os.listdir("/proc/self/fd") == before
