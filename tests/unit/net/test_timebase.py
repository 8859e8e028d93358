"""The mesh's clock, as a module reads it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from net import timebase
from net.timebase import DRIFT, UNKNOWN_S, MeshClock, Standing, decode, encode


def clock_of(path: Path, monkeypatch: pytest.MonkeyPatch, *moments: float) -> MeshClock:
    """A clock on a machine whose own shows these moments, then the last of them."""
    left = list(moments)
    monkeypatch.setattr(timebase.time, "time", lambda: left.pop(0) if left[1:] else left[0])
    return MeshClock(path)


def test_on_one_machine_it_is_the_machines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_of(tmp_path / "clock.json", monkeypatch, 100.0)
    assert not clock.corrects
    assert (clock(), clock.error_of("b")) == (100.0, 0.0)


def test_what_the_agent_found_is_added_and_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clock.json"
    file.write_bytes(encode(Standing(2.5, 0.001, 100.0, {"far": 0.002, "new": None})))
    clock = clock_of(file, monkeypatch, 100.0, 100.0, 100.0, 100.0, 100.0, 102.0)
    assert clock.corrects
    assert clock() == 102.5
    assert clock.error_of("far") == pytest.approx(0.003)
    assert clock.error_of("new") == UNKNOWN_S
    assert clock.error_of("near") == 0.0  # on this machine
    file.write_bytes(encode(Standing(3.0, 0.001, 100.0, {"far": 0.002})))
    assert clock() == 105.0
    assert clock.error_of("far") == pytest.approx(0.003 + 2 * 2.0 * DRIFT)


def test_who_began_before_the_mesh_had_other_machines_says_by_how_much_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clock.json"
    clock = clock_of(file, monkeypatch, 100.0, 200.0)
    file.write_bytes(encode(Standing(-0.5, 0.001, 200.0, {"far": 0.002})))
    assert clock() == 200.0
    assert clock.error_of("far") == pytest.approx(0.503)
    assert clock.error_of("near") == 0.0


def test_it_is_waited_for_until_the_clock_was_compared(tmp_path: Path) -> None:
    file = tmp_path / "clock.json"
    file.write_bytes(encode(Standing(0.0, None, 0.0, {"far": None})))
    clock = MeshClock(file)

    async def wait() -> None:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(clock.known(30.0))
            await asyncio.sleep(0)
            assert not waiting.done()
            file.write_bytes(encode(Standing(1.0, 0.001, 0.0, {"far": 0.001})))

    asyncio.run(wait())
    assert clock.error_of("far") < UNKNOWN_S
    asyncio.run(clock.known(30.0))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"offset_s": 1}', b'{"offset_s":"x","error_s":0,"at_s":0,"peers":{}}',
     b'{"offset_s":1e999,"error_s":0,"at_s":0,"peers":{}}',
     b'{"offset_s":1,"error_s":0,"at_s":0,"peers":7}'],
)  # fmt: skip
def test_what_makes_no_sense_is_left_alone(data: bytes, tmp_path: Path) -> None:
    assert decode(data) is None
    file = tmp_path / "clock.json"
    file.write_bytes(data)
    assert MeshClock(file).error_of("far") == 0.0
