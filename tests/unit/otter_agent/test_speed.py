"""Speeds: cores of one speed as cores of another."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_agent.admission import Holding, admit_scarcity
from otter_agent.errors import AgentError

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
