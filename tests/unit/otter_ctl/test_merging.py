"""What several machines say of one mesh, as one status."""

from __future__ import annotations

from otter_agent import api
from otter_ctl.merging import merged


def part(machine: str, *ways: tuple[str, str, str]) -> api.MeshStatus:
    links = tuple(
        api.LinkStatus(name=name, from_=a, to=b, driver="tun", asked={}, applied=None)
        for name, a, b in ways
    )
    return api.MeshStatus(
        mesh="m",
        state="ready",
        generation=1,
        settled=1,
        machines=(api.MachineStatus(name=machine, reachable=True, version="1"),),
        hosts=(),
        modules=(),
        links=links,
        spec=api.MeshSpec(name="m", run="r", hosts=()),
    )


def test_both_directions_of_a_link_stand_together_whichever_machines_tell_them():
    parts = {
        "m1": part("m1", ("a-c", "a", "c"), ("a-b", "a", "b"), ("a-b", "b", "a")),
        "m2": part("m2", ("a-c", "c", "a"), ("c-d", "c", "d")),
    }
    found = [(link.name, link.from_) for link in merged(parts, {}).links]
    assert found == [("a-c", "a"), ("a-c", "c"), ("a-b", "a"), ("a-b", "b"), ("c-d", "c")]
