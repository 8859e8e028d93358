"""The verdict of a run: for good, over the agent's lives, anew with another run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from otter_agent.fidelity import watch
from otter_agent.fidelity.watch import Watch
from otter_agent.links.base import Health


@dataclass
class Links:
    """Says what it is told to."""

    now: Health | None = field(default_factory=lambda: Health(pid=1))

    def health(self) -> Health | None:
        return self.now


@dataclass
class Around:
    file: Path
    links: Links = field(default_factory=Links)
    told: list[tuple[str, str]] = field(default_factory=list)
    begun: bool = True

    def watch(self, run: str = "r1") -> Watch:
        def tell(kind: str, subject: str, text: str, state: str = "", data: object = None) -> None:
            assert kind == "fidelity"
            self.told.append((state, text))

        return Watch(self.links, tell, self.file, run, lambda: self.begun)


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Around:
    monkeypatch.setattr(watch, "_LEAST_S", 0.0)
    monkeypatch.setattr(watch, "WINDOW_S", 0.0)
    return Around(tmp_path / "mesh" / "fidelity.json")


def look(one: Watch) -> None:
    asyncio.run(one.look_if_begun())


def test_a_run_is_valid_until_it_is_not_and_then_for_good(around: Around):
    one = around.watch()
    look(one)
    around.links.now = Health(pid=1, packets=1000)
    look(one)
    assert one.verdict.valid
    assert not around.file.exists()
    around.links.now = Health(pid=1, packets=2000, late=500)
    look(one)
    assert not one.verdict.valid
    around.links.now = Health(pid=1, packets=9000, late=500)
    look(one)
    assert [doubt.cause for doubt in one.verdict.why] == ["late"]
    assert [state for state, _ in around.told] == ["invalid"]

    assert around.watch().verdict.why == one.verdict.why  # the agent's next life
    assert around.watch("r2").verdict.valid
    one.take("r2")
    assert one.verdict.valid


def test_what_goes_on_before_the_epoch_is_not_judged(around: Around):
    around.begun = False
    one = around.watch()
    look(one)
    around.links.now = Health(pid=1, packets=1000, late=1000)
    look(one)
    around.begun = True
    look(one)
    look(one)
    assert one.verdict.valid


def test_a_gap_is_a_cause_whoever_looks(around: Around):
    one = around.watch()
    one.lost(2.5)
    assert not one.verdict.valid
    assert "nothing passed for 2.500 s" in one.verdict.why[0].text
    assert "nothing passed for 2.500 s" in around.told[0][1]


@pytest.mark.parametrize("content", [b"", b"{", b'{"run": 5}', b"\xff\xff"])
def test_a_file_that_is_damaged_is_as_none(around: Around, content: bytes):
    around.file.parent.mkdir()
    around.file.write_bytes(content)
    assert around.watch().verdict.valid


def test_one_cause_is_told_once_a_minute(around: Around):
    one = around.watch()
    for count in range(5):
        around.links.now = Health(pid=1, packets=1000 * count, late=1000 * count)
        look(one)
    assert len(around.told) == 1
