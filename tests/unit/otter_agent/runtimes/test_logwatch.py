"""The launcher's watch over logs: marks as they are written, and a bounded size."""

from __future__ import annotations

import threading
import time

import pytest

from otter_agent.launcher.logs import PAUSE_S, LogWatch
from otter_agent.launcher.loop import Loop
from otter_agent.launcher.marks import Reader
from otter_agent.runtimes.logfile import LogFile

DEADLINE_S = 20.0


class Running:
    """A launcher's loop in a thread of its own, with a watch."""

    def __init__(self, **limits: int) -> None:
        self.loop = Loop()
        self.watch = LogWatch(self.loop, **limits)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._tick()
        self.loop.run()

    def _tick(self) -> None:
        self.loop.call_later(0.01, self._tick)  # so that `stop` is seen

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.stop()
        self._thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def marked(path, size: int) -> Reader:
    """The marks, once they cover that many bytes."""
    reader = Reader(str(path))
    deadline = time.monotonic() + DEADLINE_S
    while reader.time_of(size - 1) is None:
        assert time.monotonic() < deadline, f"{size} bytes were never marked"
        time.sleep(0.001)
        reader.refresh()
    return reader


@pytest.mark.slow
def test_a_write_is_marked_soon_and_with_its_time(path):
    running = Running()
    running.watch.add(str(path))
    with running, path.open("ab", buffering=0) as file:
        for n in range(1, 6):
            time.sleep(PAUSE_S * 3)  # each comes after a quiet moment
            before = time.time()
            file.write(b"0123456789")
            reader = marked(path, n * 10)
            assert reader.time_of(n * 10 - 1) == pytest.approx(before, abs=0.05)
    times = [reader.time_of(n * 10 - 1) for n in range(1, 6)]
    assert len(set(times)) == 5


@pytest.mark.slow
def test_a_writer_without_end_costs_few_marks(path):
    running = Running()
    running.watch.add(str(path))
    with running, path.open("ab", buffering=0) as file:
        began = time.monotonic()
        written = 0
        while time.monotonic() - began < 0.5:
            written += file.write(b"x" * 99 + b"\n")
        marked(path, written)
    marks = (path.with_name("log.marks").stat().st_size - 16) / 16
    assert marks <= 4 + 0.5 / PAUSE_S * 2


@pytest.mark.slow
def test_a_log_is_cut_from_the_front_and_a_follower_that_keeps_up_loses_nothing(path):
    running = Running(log_bytes=1 << 20, slack_bytes=1 << 20)
    running.watch.add(str(path))
    seen: list[str] = []
    log = LogFile(path)
    lines = 200_000  # of 50 bytes: ten times what is kept
    with running, path.open("ab", buffering=0) as file:
        for begin in range(0, lines, 1000):
            file.write(b"".join(b"%049d\n" % n for n in range(begin, begin + 1000)))
            while log.grew():
                seen += [line.text for line in log.read()]
        marked(path, lines * 50)
    assert [int(text) for text in seen] == list(range(lines))
    there = path.stat()
    assert there.st_size == lines * 50
    assert there.st_blocks * 512 < 3 << 20
    log.close()
    late = LogFile(path)
    kept = []
    while late.grew():
        kept += [int(line.text) for line in late.read()]
    late.close()
    assert kept == list(range(kept[0], lines))
    assert len(kept) * 50 >= (1 << 20) - 50


def test_a_reader_that_falls_behind_is_told_so(path):
    running = Running(log_bytes=1 << 16, slack_bytes=1 << 16)
    running.watch.add(str(path))
    log = LogFile(path)
    with running, path.open("ab", buffering=0) as file:
        file.write(b"0\n")
        assert [line.text for line in log.read()] == ["0"]
        for _ in range(100):
            file.write(b"y" * 9999 + b"\n")
        marked(path, 2 + 100 * 10_000)
    texts = []
    while log.grew():
        texts += [line.text for line in log.read()]
    log.close()
    assert "bytes of this log were dropped" in texts[0]
    assert set(texts[1:]) == {"y" * 9999}


def test_an_emptied_log_is_marked_anew(path):
    running = Running()
    running.watch.add(str(path))
    with running, path.open("ab", buffering=0) as file:
        file.write(b"x" * 100)
        marked(path, 100)
        file.truncate(0)
        file.write(b"y\n")
        deadline = time.monotonic() + DEADLINE_S
        while (log := timed(path)) != [("y", pytest.approx(time.time(), abs=5))]:
            assert time.monotonic() < deadline, log


def timed(path) -> list[tuple[str, float]]:
    log = LogFile(path)
    lines = [(line.text, line.time) for line in log.read()]
    log.close()
    return lines


def test_logs_that_end_are_noted_and_forgotten(path):
    running = Running()
    running.watch.add(str(path))
    with path.open("ab", buffering=0) as file:
        file.write(b"last words\n")
    running.watch.remove(str(path))  # before any event was handled
    reader = Reader(str(path))
    reader.refresh()
    assert reader.time_of(0) is not None


def test_a_log_that_can_not_be_watched_harms_nobody(tmp_path, capsys):
    running = Running()
    running.watch.add(str(tmp_path / "no-such-folder" / "log"))
    running.watch.remove(str(tmp_path / "no-such-folder" / "log"))
    assert "can't be watched" in capsys.readouterr().err
