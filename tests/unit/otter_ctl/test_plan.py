"""Topology -> MeshSpec: complete, stable, and honest about what isn't done."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_agent import api
from otter_ctl.errors import PlanError
from otter_ctl.planning.model import Blob
from otter_ctl.planning.resolve import STREAM_PORT, plan
from otter_ctl.planning.uploads import collect, contents

TWO = """\
name = "m"
[hosts.a]
[hosts.b]
[[links]]
between = ["a", "b"]
[modules.one]
host = "a"
build = "asr"
[modules.two]
host = "b"
build = "asr"
"""


def planned(topology, current=None, runtime: api.RuntimeName = "docker", run="r1"):
    return plan(
        topology, current=current, runtime_default=runtime, blobs=collect(topology), run=run
    )


def module(spec: api.MeshSpec, name: str) -> api.ModuleSpec:
    return next(m for m in spec.modules if m.name == name)


def test_the_whole(read, full, folder):
    topology = read(full)
    blobs = collect(topology)
    spec = planned(topology).spec
    assert (spec.name, spec.seed, spec.run) == ("multimodal-qa", 7, "r1")
    phone, edge = spec.hosts
    assert (phone.address, phone.block) == ("100.64.0.1", "100.64.0.0/24")
    assert (phone.cpu, edge.memory_bytes) == (1.0, 4 << 30)
    assert phone.routes == (api.Route(to=("100.64.1.0/24",), via="100.64.1.1", link="radio"),)
    assert edge.routes == (api.Route(to=("100.64.0.0/24",), via="100.64.0.1", link="edge-phone"),)
    assert [(x.name, x.a, x.b, x.reverse is None) for x in spec.links] == [
        ("radio", "phone", "edge", False),
        ("edge-phone", "edge", "phone", True),
    ]
    asr = module(spec, "asr")
    assert asr.build == api.Build(context=blobs[folder / "asr"].digest, base="torch")
    assert asr.files == (
        api.File(target="inputs/question.wav", blob=api.digest(b"RIFF"), executable=False),
    )
    assert (asr.runtime, module(spec, "probe").runtime) == ("docker", "process")
    assert asr.ready == api.Ready(tcp=8000, within_s=60)
    assert spec.names == {
        "phone": "100.64.0.1", "edge": "100.64.1.1",
        "asr": asr.address, "vqa": module(spec, "vqa").address,
        "probe": module(spec, "probe").address,
    }  # fmt: skip
    assert set(asr.blobs()) == set(contents(blobs))


def test_it_travels(read, full):
    spec = planned(read(full)).spec
    assert api.decode(api.encode(spec), api.MeshSpec) == spec


def test_both_ends_of_a_stream(read, full):
    spec = planned(read(full)).spec
    (sends,) = module(spec, "asr").streams_out
    (receives,) = module(spec, "vqa").streams_in
    assert (sends.port_name, sends.peer) == ("text", "vqa")
    assert (receives.port_name, receives.peer) == ("question", "asr")
    for end in (sends, receives):
        assert end.address == module(spec, "vqa").address
        assert end.source_address == module(spec, "asr").address
        assert (end.port, end.queue, end.stream) == (STREAM_PORT, 4, "asr.text>vqa.question")
    assert module(spec, "asr").streams_in == () == module(spec, "vqa").streams_out


def test_ready_by_default(read):
    plain = planned(read(TWO)).spec
    assert module(plain, "one").ready == api.Ready()
    wired = planned(read(f'{TWO}[[streams]]\nfrom = "one.x"\nto = "two.y"\n')).spec
    assert module(wired, "one").ready == module(wired, "two").ready == api.Ready(sdk=True)
    slow = planned(read(f'{TWO}ready = {{ sdk = true, within = "10min" }}\n')).spec
    assert module(slow, "two").ready == api.Ready(sdk=True, within_s=600)


def test_a_re_plan_changes_nothing(read, full):
    topology = read(full)
    first = planned(topology).spec
    assert planned(topology, first, run="r2").spec == first


def test_the_order_in_the_file_restarts_nothing(read):
    streams = [f'[[streams]]\nfrom = "one.{x}"\nto = "two.{x}"\n' for x in "ba"]
    first = planned(read(TWO + "".join(streams))).spec
    second = planned(read(TWO + "".join(reversed(streams))), first).spec
    assert second == first


def test_new_hosts_and_modules_leave_the_others_alone(read):
    first = planned(read(TWO)).spec
    before = TWO.replace("[hosts.a]", "[hosts.0]\n[hosts.a]").replace(
        "[modules.one]", '[modules.zero]\nhost = "a"\nbuild = "asr"\n[modules.one]'
    )
    second = planned(read(before), first).spec
    assert {k: v for k, v in second.names.items() if k in first.names} == first.names
    assert (second.names["0"], second.names["zero"]) == ("100.64.2.1", "100.64.0.3")
    assert api.instance_digest(module(second, "one")) == api.instance_digest(module(first, "one"))


def test_link_properties_are_no_reason_to_warn(read, full):
    assert planned(read(full)).warnings == planned(read(TWO)).warnings == ()


def test_streams_without_a_way_are_warned_of(read):
    text = TWO.replace('between = ["a", "b"]', 'from = "a"\nto = "b"')
    text += '[[streams]]\nfrom = "one.x"\nto = "two.y"\n'
    assert planned(read(text)).warnings == ("stream one.x>two.y: host b has no route to host a",)


def test_an_image_needs_an_engine(read, full):
    with pytest.raises(PlanError, match="module vqa: an image can't run without a Docker engine"):
        planned(read(full), runtime="process")


def test_what_was_not_collected_is_named(read):
    with pytest.raises(PlanError, match="asr: was not collected"):
        plan(read(TWO), current=None, runtime_default="fake", blobs={}, run="r")


def test_planning_reads_no_files(read):
    """Only digests go in: a plan can be made of a topology whose folders are elsewhere."""
    topology = read(TWO)
    blobs = {m.build: Blob("d" * 64, 1, bytes) for m in topology.modules if m.build}
    Path(topology.modules[0].build / "module.py").unlink()
    spec = plan(topology, current=None, runtime_default="fake", blobs=blobs, run="r").spec
    assert module(spec, "one").build == api.Build(context="d" * 64)


def test_a_runtime_is_kept_though_an_engine_came_or_went(read):
    """Nothing is restarted for it; who asks for an image gets the engine."""
    topology = read(TWO)
    before = planned(topology, runtime="process").spec
    assert {m.runtime for m in planned(topology, before, "docker").spec.modules} == {"process"}
    image = read(TWO.replace('host = "a"\nbuild = "asr"', 'host = "a"\nimage = "x"'))
    after = planned(image, before, "docker").spec
    assert (module(after, "one").runtime, module(after, "two").runtime) == ("docker", "process")


@pytest.mark.parametrize(
    ("of_link", "way", "more", "warned"),
    [
        ("", "", "", True),
        ('reverse = { rate = "1mbit" }\n', ":a>b", "", True),
        ('reverse = { rate = "1mbit" }\n', ":b>a", "", False),
        ('reverse = { rate = "1mbit" }\n', "", "", False),
        ('rate = "1mbit"\n', ":a>b", "", False),
        ('trace = { generate = "markov", rates = ["1mbit", "2mbit"] }\n', "", "", False),
        ("", "", '[[events]]\nat = "1s"\nlink = "a-b"\nset = { rate = "1mbit" }\n', False),
    ],
)
def test_who_waits_for_what_a_link_without_a_rate_never_does_is_told(
    read, of_link, way, more, warned
):
    text = TWO.replace('["a", "b"]\n', f'["a", "b"]\n{of_link}') + more
    text += (
        f'[[events]]\nwhen = {{ link = "a-b{way}", use_above = "50%" }}\nmodule = "one"\n'
        'action = "stop"\n'
    )
    told = (
        "event one: stop: waits for `use_above` of link a-b, which has no rate: it won't happen",
    )
    assert planned(read(text)).warnings == (told if warned else ())
