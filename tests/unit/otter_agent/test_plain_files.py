"""What a module puts in the place of a file that the agent reads does nothing to the machine."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otter_agent import api, results, streams
from otter_agent.gpu.mps import PID_FILE, Mps
from otter_agent.layout import Layout, ModulePaths

IN_OPEN = 0x20
"""inotify(7)."""
STREAM = api.StreamEnd(stream="a.x>b.y", port_name="y", peer="a", address="10.0.0.2", port=9000)
MODULE = api.ModuleSpec(
    name="b", host="h", address="10.0.0.1", runtime="fake", streams_in=(STREAM,)
)
Opened = Callable[..., bool]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.at(tmp_path)


@pytest.fixture
def paths(layout: Layout) -> ModulePaths:
    made = layout.module("m", "b")
    made.state.mkdir(parents=True)
    made.work.mkdir()
    return made


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Whether anybody opened a file since it was told to look, as the kernel tells it."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def look(path: Path | None = None) -> bool:
        if path is not None:
            assert libc.inotify_add_watch(watch, os.fsencode(path), IN_OPEN) > 0
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(watch, 1 << 16))
        return False

    try:
        (tmp_path / "any").touch()
        look(tmp_path / "any")
        os.close(os.open(tmp_path / "any", os.O_PATH))
        if look():
            pytest.skip("this kernel tells also of who doesn't open what they find (before 6.8)")
        yield look
    finally:
        os.close(watch)


def test_what_is_no_file_is_not_even_opened(
    layout: Layout, paths: ModulePaths, opened: Opened
) -> None:
    """A container may make the node of any device; opening a watchdog's reboots the machine."""
    mps = Mps(layout.run / "mps")
    mps.pipe.mkdir(parents=True)
    out = paths.work / "out"
    for path in (
        paths.state / "streams.json", paths.state / "messages.csv", out, mps.pipe / PID_FILE,
    ):  # fmt: skip
        os.mkfifo(path)
        opened(path)
    spec = api.MeshSpec(name="m", run="r", hosts=(), modules=(MODULE,))
    assert [told.messages for told in streams.stream_statuses(layout, spec)] == [0]
    assert not list(streams.record_lines(layout, "m", spec.modules, ["a:1:1"]))
    assert b"outputs/out" not in b"".join(results.pack_results(paths, ["*"], None))
    assert mps.pid() is None
    assert not opened()
    os.close(os.open(out, os.O_RDONLY | os.O_NONBLOCK))
    assert opened()  # it would have told


@pytest.fixture
def leased(paths: ModulePaths) -> Iterator[Path]:
    """A file that nobody may open before its owner has given it back, or for 45 s."""
    path = paths.work / "out"
    path.touch()
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with path.open("r+b") as file:
            try:
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            except OSError as error:
                pytest.skip(f"no leases on this file system: {errno.errorcode[error.errno or 0]}")
            yield path
    finally:
        signal.signal(signal.SIGIO, before)


def test_a_file_that_its_owner_holds_is_not_waited_for(leased: Path) -> None:
    assert results.open_plain(leased.parent, leased.name) is None
