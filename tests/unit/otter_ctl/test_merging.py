"""What several machines say of one mesh, as one status."""

from __future__ import annotations

from msgspec.structs import replace

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


def test_of_many_machines_the_directory_says_where_a_link_leads() -> None:
    known = api.TunnelState(machine="m9")
    for told, machine in ((api.TunnelState(), "m2"), (known, "m9")):
        one = part("m1", ("a-b", "a", "b"), ("a-x", "a", "x"))
        links = (replace(one.links[0], tunnel=told), one.links[1])
        parts = {"m1": replace(one, links=links), "m2": part("m2", ("a-b", "b", "a"))}
        seats = {"m1": ("a", "x"), "m2": ("b",)}
        listed = tuple(api.Away(machine=name, hosts=hosts) for name, hosts in seats.items())
        found = merged(parts, {}, api.Directory(names={}, machines=listed))
        tunnels = {(link.name, link.from_): link.tunnel for link in found.links}
        assert tunnels == {
            ("a-b", "a"): replace(told, machine=machine), ("a-b", "b"): None, ("a-x", "a"): None,
        }  # fmt: skip
