"""Figures of a machine that are measured once and kept."""

from __future__ import annotations

import json

import pytest

from otter_agent.once import Once, cores, processor


def test_it_is_measured_once_and_kept(tmp_path):
    took = iter((0.75, 0.5))
    file = tmp_path / "speed.json"
    speed = Once(file, 1, lambda: next(took))
    assert speed.known is None
    assert (speed.value(), speed.value(), speed.known) == (0.75, 0.75, 0.75)
    assert Once(file, 1, lambda: next(took)).value() == 0.75
    assert json.loads(file.read_text())["cores"] == cores()


@pytest.mark.parametrize(
    "change", [{"cores": "another"}, {"version": 2}, {"of": "another kernel"}, {"value": "?"}]
)
def test_another_s_is_measured_anew(tmp_path, change):
    file = tmp_path / "speed.json"
    assert Once(file, 1, lambda: 0.75, of="kernel").value() == 0.75
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    assert Once(file, 1, lambda: 0.5, of="kernel").known is None
    assert Once(file, 1, lambda: 0.5, of="kernel").value() == 0.5


@pytest.mark.parametrize("error", [OSError("no numpy"), ValueError("busy")])
def test_one_that_cannot_be_measured_is_no_error_and_not_kept(tmp_path, error):
    def fails() -> float:
        raise error

    file = tmp_path / "speed.json"
    file.write_text("{")
    once = Once(file, 1, fails)
    assert once.value() is None
    assert file.read_text() == "{"
    assert Once(file, 1, lambda: 0.5).value() == 0.5


def test_the_kind_of_cores_is_told_of_any_processor():
    arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
    assert processor(arm, "aarch64") == "aarch64 0x41 0xd0b"
    assert processor("model name : X\nmodel : 1\n", "x86_64") == "x86_64 X 1"
