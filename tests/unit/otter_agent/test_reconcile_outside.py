"""When gateways and published ports are opened, and who waits for them."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from otter_agent import api
from otter_agent import reconcile as policy
from otter_agent.reconcile import NO_OUTSIDE, Observed, Seen, Wanted, reconcile
from otter_agent.runtimes.base import Instance, Key, Phase
from otter_agent.supervision import Supervision

HOST = api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24")
PORT = api.Publish(port=80, listen_port=8080, host="h")


def mesh(*ports: api.Publish, gateway: bool = False) -> api.MeshSpec:
    module = api.ModuleSpec(
        name="m", host="h", address="100.64.0.2", runtime="process", publish=ports
    )
    host = msgspec.structs.replace(HOST, gateway=gateway)
    return api.MeshSpec(name="mesh", run="r", hosts=(host,), modules=(module,))


def actions(spec: api.MeshSpec, phase: Phase, **observed) -> tuple[policy.Action, ...]:
    wanted = Wanted.of(spec)
    digest = wanted.digests["m"]
    seen = Seen(instance=Instance(Key("mesh", "m"), digest, phase), artifact=True)
    ground = Observed(
        folders=wanted.folders, network=wanted.network, links=wanted.links, modules={"m": seen}
    )
    memory = {"m": Supervision(spec_digest=digest)}
    return reconcile(wanted, replace(ground, **observed), memory, 1000.0).actions


def test_a_mesh_without_an_outside_never_looks_at_it() -> None:
    assert Wanted.of(mesh()).outside == NO_OUTSIDE
    assert actions(mesh(), Phase.HELD) == (policy.Connect("m"),)


def test_modules_wait_until_the_way_out_is_open() -> None:
    for spec in (mesh(gateway=True), mesh(PORT)):
        assert actions(spec, Phase.HELD, outside="") == (policy.Outside(),)
        assert actions(spec, Phase.HELD, outside="", busy=frozenset({"Outside"})) == ()
        done = Wanted.of(spec).outside
        assert actions(spec, Phase.HELD, outside=done) == (policy.Connect("m"),)


def test_nothing_is_opened_before_the_network_is_there() -> None:
    assert actions(mesh(PORT), Phase.HELD, outside="", network="old") == (policy.Network(),)


def test_a_port_that_cannot_be_had_keeps_no_module_from_running() -> None:
    later = {"Outside": 1002.0}
    assert actions(mesh(PORT), Phase.HELD, outside="", retry_at=later) == (policy.Connect("m"),)
    now = {"Outside": 999.0}
    assert set(actions(mesh(PORT), Phase.HELD, outside="", retry_at=now)) == {
        policy.Connect("m"), policy.Outside(),
    }  # fmt: skip


def test_what_counts_as_a_change() -> None:
    base = Wanted.of(mesh(PORT))
    other = msgspec.structs.replace(PORT, listen_port=8081)
    assert Wanted.of(mesh(other)).outside != base.outside
    assert Wanted.of(mesh(other)).network == base.network, "links and routes stay untouched"
    assert Wanted.of(mesh(other)).digests == base.digests, "and so does the module"
    assert Wanted.of(mesh(PORT, gateway=True)).network != base.network


def test_a_port_that_is_wanted_no_more_is_closed() -> None:
    before = Wanted.of(mesh(PORT)).outside
    assert policy.Outside() in actions(mesh(), Phase.HELD, outside=before)
