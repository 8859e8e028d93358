"""Plans while machines give no answer: of the others, with what those tell of the silent ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from otter_agent import api
from otter_ctl.deploy import Prepared, prepare
from otter_ctl.errors import RemoteError
from otter_ctl.planning.parts import join, kept_clock, kept_opens, kept_tunnels, kept_underlay
from otter_ctl.planning.tunnels import Wires
from otter_ctl.planning.unheard import Unheard, address_of, kept_there, supposed_part
from otter_ctl.topology import load

ADDRESSES = {f"m{n}": f"10.0.0.{n}" for n in (1, 2, 3)}
HEAD = """
name = "mesh"
[machines.m1]
[machines.m2]
[machines.m3]
[defaults.module]
runtime = "process"
"""
LINKS = """
[[links]]
between = ["a", "b"]
delay = "5ms"
[[links]]
between = ["b", "c"]
delay = "6ms"
[[links]]
between = ["a", "c"]
delay = "7ms"
[modules.m]
host = "*"
command = ["sleep"]
[[streams]]
from = "m-a.out"
to = "m-b.in"
[[events]]
at = "1s"
link = "*"
set = { loss = "5%" }
"""


def host(name: str, machine: str, more: str = "") -> str:
    return f'[hosts.{name}]\nmachine = "{machine}"\n{more}'


A, B, C = (host(name, machine) for name, machine in zip("abc", ADDRESSES, strict=True))


def info(name: str) -> api.Info:
    return api.Info(
        agent=name, version="1", api_version=1, pid=1, root="/", machine=name, cpus=2,
        memory_bytes=1 << 30, arch="x86_64", kernel="6", cgroup="v2", runtimes=(),
    )  # fmt: skip


def status(spec: api.MeshSpec) -> api.MeshStatus:
    return api.MeshStatus(
        mesh=spec.name, state="ready", generation=1, settled=1, machines=(), hosts=(), modules=(),
        links=(), spec=spec,
    )  # fmt: skip


def made(folder: Path, text: str) -> Prepared:
    """A mesh on three machines, as it is planned at first."""
    (folder / "mesh.toml").write_text(text)
    infos = {name: info(name) for name in ADDRESSES}
    wires = Wires(ADDRESSES, "ab" * 16)
    return prepare(folder / "mesh.toml", (), None, infos["m1"], infos=infos, wires=wires)


def silent(parts: Mapping[str, api.MeshSpec], name: str) -> Unheard:
    """A machine, as the parts of the others tell of it."""
    known = next(iter(parts.values()))
    away = next(away for away in known.away if away.machine == name)
    return Unheard(
        name, RemoteError(name, "away"), "away", supposed_part(away, known, known.names),
        address_of(name, away.hosts, parts),
    )  # fmt: skip


def again(folder: Path, text: str, parts: Mapping[str, api.MeshSpec], *unheard: Unheard):
    """The plan of a topology while some machines give no answer."""
    (folder / "mesh.toml").write_text(text)
    infos = {name: info(name) for name in parts}
    addresses = {name: ADDRESSES[name] for name in parts}
    known = addresses | {one.machine: one.address for one in unheard}
    wires = Wires(
        known, "cd" * 16, kept=kept_tunnels(parts, addresses), kept_opens=kept_opens(parts),
        underlay=kept_underlay(parts, known), clock=kept_clock(parts),
    )  # fmt: skip
    return prepare(
        folder / "mesh.toml", (), status(join(parts.values())), info(next(iter(parts))),
        topology=kept_there(load(folder / "mesh.toml", ()), unheard), infos=infos, wires=wires,
        found={name: status(part) for name, part in parts.items()},
        unheard={one.machine: one for one in unheard},
    )  # fmt: skip


@pytest.mark.parametrize("gone", [("m2",), ("m1",), ("m2", "m3")])
@pytest.mark.parametrize("routing", ["static", "shortest"])
def test_what_is_as_asked_stays_so_where_it_can_be_seen(tmp_path, gone, routing):
    head = f'{HEAD}[network]\nrouting = "{routing}"\n'
    whole = made(tmp_path, head + B + C + A + LINKS)
    parts = {name: part for name, part in whole.parts.items() if name not in gone}
    unheard = [silent(parts, name) for name in gone]
    # In another order hosts would get other addresses, if it weren't known which they have.
    plan = again(tmp_path, head + A + B + C + LINKS, parts, *unheard)
    assert plan.changes == []
    assert plan.plan.spec.names == whole.plan.spec.names
    assert plan.parts.keys() == parts.keys()


def test_what_is_asked_anew_is_told_where_it_can_be_seen(tmp_path):
    parts = dict(made(tmp_path, HEAD + A + B + C + LINKS).parts)
    del parts["m2"]
    text = HEAD + host("a", "m1", "cpu = 1.5\n") + host("b", "m2", "cpu = 0.5\n") + C
    text += LINKS.replace('"5ms"', '"5.5ms"').replace('command = ["sleep"]', 'command = ["true"]')
    changes = again(tmp_path, text, parts, silent(parts, "m2")).changes
    told = {(change.subject, change.name): [f.field for f in change.fields] for change in changes}
    assert told == {
        ("host", "a"): ["cpu"],
        ("link", "a-b"): ["forward.delay_s"],  # b>a is made scarce by the machine of b
        ("module", "m-a"): ["command"],
        ("module", "m-c"): ["command"],
    }


def test_what_is_placed_stays_on_a_machine_that_gives_no_answer(read):
    topology = read(
        HEAD + '[hosts.a]\namong = "*"\n[hosts.b]\n[hosts.c]\nmachine = "m3"\n[modules.x]\n'
        'command = ["true"]\n[modules.y]\ncommand = ["true"]\n[modules.z]\nhost = "c"\n'
        'command = ["true"]\n'
    )
    modules = {"x": "a", "z": "c", "y": "gone"}
    away = api.Away(machine="m2", hosts=("a", "c", "gone"), modules=modules)
    known = api.MeshSpec(name="mesh", run="r", machine="m1", away=(away,))
    names = {"a": "100.64.0.1", "c": "100.64.1.1", "gone": "100.64.2.1"}
    names |= {"x": "100.64.0.2", "y": "100.64.2.2", "z": "100.64.1.2"}
    part = supposed_part(away, known, names)
    assert part is not None
    kept = kept_there(topology, [Unheard("m2", RemoteError("m2", "away"), "away", part)])
    assert {h.name: h.machine for h in kept.hosts} == {"a": "m2", "b": None, "c": "m3"}
    assert {m.name: m.host for m in kept.modules} == {"x": "a", "y": None, "z": "c"}
    assert part.hosts[0].block == "100.64.0.0/24"


def test_blocks_are_as_large_as_what_is_known_to_be_in_them():
    modules = {f"m{n}": "a" for n in range(300)}
    names = {"a": "100.64.4.1"} | dict.fromkeys(modules, "100.64.4.2")
    away = api.Away(machine="m2", hosts=("a",), modules=modules)
    part = supposed_part(away, api.MeshSpec(name="mesh", run="r"), names)
    assert part is not None
    assert part.hosts[0].block == "100.64.4.0/23"
    told = replace(away, blocks={"a": "100.64.4.0/22"})
    part = supposed_part(told, api.MeshSpec(name="mesh", run="r"), names)
    assert part is not None
    assert part.hosts[0].block == "100.64.4.0/22"


def test_of_what_nobody_tells_nothing_is_supposed():
    away = api.Away(machine="m2", hosts=("a",))
    assert supposed_part(away, api.MeshSpec(name="mesh", run="r"), {}) is None
    assert address_of("m2", ("a",), {"m1": api.MeshSpec(name="mesh", run="r")}) == ""
