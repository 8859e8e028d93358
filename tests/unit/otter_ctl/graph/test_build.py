"""What is in a picture: of a file, of a plan, of a mesh that runs; and what is folded."""

from __future__ import annotations

import pytest
from helpers.topologies import COUNTED, PARALLEL, TIERS, host, link, module, stream

from otter_agent import api
from otter_ctl.errors import PlacementError
from otter_ctl.graph.build import of_plan, of_status
from otter_ctl.graph.fold import fold
from otter_ctl.planning.diff import diff
from otter_ctl.planning.resolve import plan
from otter_ctl.topology import load


@pytest.fixture
def planned(tmp_path):
    """Topology and spec of a text, on top of what runs."""

    def planned(text: str, current: api.MeshSpec | None = None):
        path = tmp_path / "planned.toml"
        path.write_text(f'name = "planned"\n{text}')
        topology = load(path)
        made = plan(topology, current=current, runtime_default="process", blobs={}, run="r")
        return topology, made.spec

    return planned


def test_a_file_with_its_modules_where_they_would_run(picture):
    drawn = picture(TIERS + '[modules.loose]\nruntime = "process"\ncommand = ["/opt/bin/run"]\n')
    hosts = {h.name: h for h in drawn.hosts}
    assert [m.name for m in hosts["camera-a"].modules] == ["cam-a", "loose"]
    assert hosts["camera-a"].modules[1].what == "run"
    assert hosts["edge"].cpu == 2
    assert hosts["edge"].memory_bytes == 4 << 30
    assert hosts["cloud"].gateway
    assert drawn.summary == "6 hosts, 5 links, 8 modules, 7 streams"


def test_a_module_for_some_kind_of_machine_is_drawn_though_no_machine_is_asked(picture):
    asks = '[modules.m]\nruntime = "process"\ncommand = ["run"]\non = { arch = "arm64" }\n'
    (drawn,) = [m for h in picture(TIERS + asks).hosts for m in h.modules if m.name == "m"]
    assert drawn.what == "run"


def test_directions_of_links(picture):
    wifi, radio, broadcast = picture(PARALLEL).links
    assert wifi.forward == wifi.reverse == {"delay_s": 0.004, "rate_bps": 50e6}
    assert radio.reverse == {"delay_s": 0.03, "rate_bps": 2e6}
    assert (broadcast.a, broadcast.b, broadcast.reverse) == ("edge", "phone", None)


def test_what_fits_nowhere_is_told_as_in_plan(picture):
    with pytest.raises(PlacementError, match="big"):
        picture(
            host("a", "cpu = 1") + host("b", "cpu = 1")
            + '[modules.big]\nruntime = "process"\ncommand = ["x"]\ncpu = 2\n'
        )  # fmt: skip


def test_alike_hosts_become_one_and_nothing_is_lost(picture):
    whole = picture(COUNTED)
    folded = fold(whole)
    assert folded.summary == whole.summary == "102 hosts, 101 links, 101 modules, 100 streams"
    assert [(h.name, h.count) for h in folded.hosts] == [
        ("client-1…client-100", 100), ("base", 1), ("edge", 1)
    ]  # fmt: skip
    assert [(x.a, x.b, x.count) for x in folded.links] == [
        ("client-1…client-100", "base", 100), ("base", "edge", 1)
    ]  # fmt: skip
    (arrow,) = folded.streams
    assert arrow.count == 100
    assert arrow.source == folded.hosts[0].modules[0].name


def test_unlike_hosts_links_and_modules_stay_apart(picture):
    text = "".join(host(f"n-{i}", f"cpu = {0.1 if i < 5 else 0.2}") for i in range(1, 10))
    text += host("hub") + "".join(
        link(f"n-{i}", "hub", f'delay = "{1 if i % 2 else 2}ms"') for i in range(1, 10)
    )
    folded = fold(picture(text))
    assert [(h.name, h.count) for h in folded.hosts] == [
        ("n-1…n-4", 4), ("n-5…n-9", 5), ("hub", 1)
    ]  # fmt: skip
    assert sorted((x.forward["delay_s"], x.count) for x in folded.links) == [
        (0.001, 2), (0.001, 3), (0.002, 2), (0.002, 2)
    ]  # fmt: skip


def test_links_without_properties_become_one_too(picture):
    text = "".join(host(f"n-{i}") for i in range(5)) + host("hub")
    text += "".join(link(f"n-{i}", "hub") for i in range(5))
    assert [x.count for x in fold(picture(text)).links] == [5]


def test_a_ring_is_not_folded_nor_are_three(picture):
    ring = "".join(host(f"n-{i}") for i in range(8))
    ring += "".join(link(f"n-{i}", f"n-{(i + 1) % 8}") for i in range(8))
    assert len(fold(picture(ring)).hosts) == 8
    assert len(fold(picture("".join(host(f"n-{i}") for i in range(3)))).hosts) == 3


def test_many_alike_modules_of_one_host_are_one(picture):
    text = host("edge") + "".join(module(f"worker-{i}", "edge") for i in range(1, 9))
    text += module("sink", "edge") + "".join(
        stream(f"worker-{i}.out", "sink.in") for i in range(1, 9)
    )
    folded = fold(picture(text))
    assert [(m.name, m.count) for m in folded.hosts[0].modules] == [
        ("worker-1…worker-8", 8), ("sink", 1)
    ]  # fmt: skip
    assert [s.count for s in folded.streams] == [8]


def status(spec: api.MeshSpec, **states: str) -> api.MeshStatus:
    """As an agent would tell it, all ready but `states`."""
    return api.MeshStatus(
        mesh=spec.name, state="degraded", generation=1, settled=1, machines=(), hosts=(), links=(),
        spec=spec, modules=tuple(
            api.ModuleStatus(
                name=m.name, host=m.host, address=m.address, runtime=m.runtime, restarts=0,
                pid=None, state=states.get(m.name.replace("-", "_"), "ready"),
            )
            for m in spec.modules
        ),
    )  # fmt: skip


@pytest.mark.slow
def test_a_mesh_that_runs_shows_states_and_who_fails_stands_alone(planned):
    _, spec = planned(COUNTED)
    drawn = fold(of_status(status(spec, app_client_57="failed")))
    assert drawn.state == "degraded"
    assert [(h.name, h.count, h.modules[0].state) for h in drawn.hosts if h.modules] == [
        ("client-1…client-100", 99, "ready"), ("client-57", 1, "failed"), ("edge", 1, "ready")
    ]  # fmt: skip


def test_a_plan_shows_what_it_adds_changes_replaces_and_removes(planned):
    _, current = planned(
        host("a") + host("b") + host("gone") + link("a", "b", 'delay = "1ms"') + link("b", "gone")
        + module("stays", "a") + module("live", "a", "cpu = 0.1") + module("anew", "b")
        + module("goes", "b") + module("old", "gone") + stream("stays.x", "goes.y")
    )  # fmt: skip
    topology, desired = planned(
        host("a") + host("b") + host("fresh") + link("a", "b", 'delay = "2ms"')
        + link("b", "fresh") + module("live", "a", "cpu = 0.2") + module("stays", "a")
        + module("anew", "b", 'env = { A = "1" }') + module("new", "fresh")
        + stream("anew.x", "new.y"), current,
    )  # fmt: skip
    drawn = of_plan(topology, desired, current, diff(current, desired))
    assert {h.name: h.change for h in drawn.hosts} == {
        "a": "", "b": "", "fresh": "create", "gone": "remove"
    }  # fmt: skip
    marks = {m.name: m.change for h in drawn.hosts for m in h.modules}
    assert marks.pop("stays") == "replace"  # it has no stream any more: its wiring changes
    assert marks == {
        "live": "update", "anew": "replace", "goes": "remove", "new": "create", "old": "remove",
    }  # fmt: skip
    assert {x.name: x.change for x in drawn.links} == {
        "a-b": "update", "b-fresh": "create", "b-gone": "remove"
    }  # fmt: skip
    assert {(s.source, s.target): s.change for s in drawn.streams} == {
        ("anew", "new"): "create", ("stays", "goes"): "remove"
    }  # fmt: skip


def test_a_first_plan_marks_nothing(planned):
    topology, desired = planned(TIERS)
    drawn = of_plan(topology, desired, None, diff(None, desired))
    assert {h.change for h in drawn.hosts} | {x.change for x in drawn.links} == {""}
