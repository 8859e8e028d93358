"""`streams.json`: what a module tells the agent of its streams."""

from __future__ import annotations

import asyncio
import json

import pytest

from net import report
from net.report import Reporter


class Streams:
    """What is told of, and how often it was written."""

    def __init__(self, folder):
        self.path = folder / "streams.json"
        self.count = 0

    def collect(self):
        return {"inputs": [{"messages": self.count}], "outputs": []}

    def told(self):
        return json.loads(self.path.read_text())


@pytest.fixture
def streams(tmp_path):
    return Streams(tmp_path)


@pytest.fixture
def quick(monkeypatch):
    """A hundred times as fast."""
    monkeypatch.setattr(report, "EVERY_S", 0.01)
    monkeypatch.setattr(report, "IDLE_EVERY_S", 60.0)


async def until(true):
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.002)


def test_what_there_is_is_told_at_the_start_and_at_the_end(tmp_path, streams):
    async def work():
        reporter = Reporter(tmp_path, streams.collect, lambda: 7.0)
        reporter.start()
        expected = {"format": 1, "time": 7.0, "inputs": [{"messages": 0}], "outputs": []}
        assert streams.told() == expected
        streams.count = 3
        reporter.close()
        reporter.close()

    asyncio.run(work())
    assert streams.told()["inputs"] == [{"messages": 3}]
    assert [path.name for path in tmp_path.iterdir()] == ["streams.json"]


def test_it_sleeps_while_nothing_changes_and_is_woken_by_use(tmp_path, streams, quick):
    async def work():
        reporter = Reporter(tmp_path, streams.collect, lambda: 7.0)
        reporter.start()
        await until(lambda: reporter.asleep)
        reporter.wake()
        assert not reporter.asleep
        streams.count = 1
        await until(lambda: streams.told()["inputs"] == [{"messages": 1}])
        reporter.close()

    asyncio.run(work())


def test_what_does_not_change_is_not_written_again(tmp_path, streams):
    reporter = Reporter(tmp_path, streams.collect, lambda: 7.0)
    assert reporter.tell()
    streams.path.unlink()
    assert not reporter.tell()
    assert not streams.path.exists()


def test_a_folder_that_cannot_be_written_to_is_said_once(tmp_path, streams, capsys):
    async def work():
        reporter = Reporter(tmp_path / "gone", streams.collect, lambda: 7.0)
        reporter.start()
        streams.count = 1
        assert not reporter.asleep
        reporter.wake()
        reporter.close()

    asyncio.run(work())
    assert capsys.readouterr().err.count("no longer reported") == 1


def test_without_a_folder_nothing_is_told(streams):
    reporter = Reporter(None, streams.collect, lambda: 7.0)
    assert not reporter.asleep
    reporter.wake()
    reporter.start()
    reporter.close()
