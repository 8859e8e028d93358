"""Speeds: measured once and kept, and cores of one speed as cores of another."""

from __future__ import annotations

import json

import pytest

from otter_agent import api
from otter_agent.admission import Holding, admit_scarcity
from otter_agent.errors import AgentError
from otter_agent.speed import Speed, here, processor

MACHINE = api.Hardness(speed=0.6, cpus=2)


@pytest.mark.parametrize(
    ("cpu", "asked", "cores"),
    [
        (4.0, 0.3, 2.0),
        (1.0, None, 1.0),
        (1.0, 0.9, 1.0),  # a core can't be made faster
        (None, 0.3, 1.0),  # all there are, of that speed
        (None, 0.9, None),
        (None, None, None),
    ],
)
def test_cores_of_a_speed_are_so_many_of_the_machine_s(cpu, asked, cores):
    assert MACHINE.cores(cpu, asked) == cores


def test_nothing_is_scaled_where_nobody_has_measured():
    assert api.Hardness(cpus=2).cores(4.0, 0.3) == 4.0
    assert not api.Hardness().too_slow(9.0)


def test_it_is_measured_once_and_kept(tmp_path):
    took = iter((0.75, 0.5))
    speed = Speed(tmp_path / "speed.json", lambda: next(took))
    assert speed.known is None
    assert (speed.value(), speed.value(), speed.known) == (0.75, 0.75, 0.75)
    assert Speed(tmp_path / "speed.json", lambda: next(took)).value() == 0.75
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert kept["cores"] == here()
    (tmp_path / "speed.json").write_text(json.dumps({**kept, "cores": "another"}))
    assert Speed(tmp_path / "speed.json", lambda: next(took)).value() == 0.5


def test_one_that_cannot_be_measured_is_no_error(tmp_path):
    def fails() -> float:
        raise OSError("no numpy")

    (tmp_path / "speed.json").write_text("{")
    assert Speed(tmp_path / "speed.json", fails).value() is None


def test_the_kind_of_cores_is_told_of_any_processor():
    arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
    assert processor(arm, "aarch64") == "aarch64 0x41 0xd0b"
    assert processor("model name : X\nmodel : 1\n", "x86_64") == "x86_64 X 1"


def mesh(**host) -> api.MeshSpec:
    made = api.HostSpec(name="pi", address="100.64.0.1", block="100.64.0.0/24", **host)
    return api.MeshSpec(name="m", run="r", hosts=(made,))


def test_faster_cores_than_there_are_are_refused():
    admit_scarcity(mesh(speed=0.61), MACHINE, str)  # no benchmark is surer than that
    with pytest.raises(AgentError, match=r"host pi asks for cores of speed 0\.9, .* have 0\.6"):
        admit_scarcity(mesh(speed=0.9), MACHINE, str)
    with pytest.raises(AgentError, match="how fast this machine's are can't be measured"):
        admit_scarcity(mesh(speed=0.3), api.Hardness(cpus=2), str)
    with pytest.raises(AgentError, match="host pi can't have the io asked: none here"):
        admit_scarcity(mesh_with_module(), MACHINE, lambda: "none here")


def mesh_with_module() -> api.MeshSpec:
    made = api.ModuleSpec(name="a", host="pi", address="100.64.0.2", runtime="process")
    base = mesh(read_iops=5)
    return api.MeshSpec(name="m", run="r", hosts=base.hosts, modules=(made,))


def test_what_a_mesh_holds_is_in_cores_of_the_machine():
    assert Holding.of(mesh(cpu=4.0, speed=0.3), machine=MACHINE).cpu == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (MACHINE, "4 cores of speed 0.3: 2 of this machine's, of 0.6"),
        (api.Hardness(speed=0.2), "4 cores of speed 0.3: this machine's are slower, 0.2"),
        (api.Hardness(), "4 cores of speed 0.3: how fast this machine's are is measured when"),
    ],
)
def test_a_plan_says_what_they_are(machine, said):
    assert api.speed_text(4.0, 0.3, machine).startswith(said)
