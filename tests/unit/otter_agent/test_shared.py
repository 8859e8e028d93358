"""Folders of streams through shared memory: made, shown, removed."""

from __future__ import annotations

import msgspec
import pytest

from otter_agent import api, shared
from otter_agent.layout import Layout

HOSTS = tuple(
    api.HostSpec(name=name, address=f"100.64.{i}.1", block=f"100.64.{i}.0/24")
    for i, name in enumerate("hk")
)


def end(peer, stream="a.x>b.y", **fields):
    fields = {"transport": "shm", "address": "100.64.0.3", "port": 7000, **fields}
    return api.StreamEnd(stream=stream, port_name="x", peer=peer, **fields)


def module(name, host="h", runtime="process", **fields):
    return api.ModuleSpec(
        name=name, host=host, address="100.64.0.2", runtime=runtime, command=("x",), **fields
    )


def mesh(*modules):
    return api.MeshSpec(name="m", run="r", hosts=HOSTS, modules=modules)


def pair(**fields):
    return (
        module("a", streams_out=(end("b"),), **fields),
        module("b", streams_in=(end("a"), end("c", "c.x>b.z", transport="tcp")), **fields),
    )


def test_a_folder_per_stream_that_only_its_modules_reach(tmp_path):
    layout = Layout.at(tmp_path)
    shared.make(layout, mesh(*pair()))
    shared.make(layout, mesh(*pair()))
    parent = layout.meshes / "m" / ".shared"
    (folder,) = parent.iterdir()
    assert (parent.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o700, 0o777)
    (folder / "s").touch()
    shared.make(layout, mesh(*pair()))
    assert (folder / "s").exists()
    shared.make(layout, mesh(module("a")))
    assert not folder.exists()


def test_a_mesh_without_such_streams_gets_no_folder(tmp_path):
    layout = Layout.at(tmp_path)
    shared.make(layout, mesh(module("a")))
    assert not (layout.meshes / "m").exists()


def test_process_modules_see_the_machines_path_and_containers_their_own(tmp_path):
    layout = Layout.at(tmp_path)
    shared.make(layout, mesh(*pair()))
    (folder,) = (layout.meshes / "m" / ".shared").iterdir()
    a, b = pair()
    (out,) = shared.wiring(layout, "m", a).outputs
    into, tcp = shared.wiring(layout, "m", b).inputs
    assert out.path == into.path == str(folder / "s")
    assert tcp.path == ""
    assert shared.binds(layout, "m", a) == ()

    a, b = pair(runtime="docker")
    (out,) = shared.wiring(layout, "m", a).outputs
    (bind,) = shared.binds(layout, "m", b)
    assert out.path == f"/run/otter-shm/{folder.name}/s"
    assert (bind.source, bind.target, bind.readonly) == (
        str(folder), f"/run/otter-shm/{folder.name}", False,
    )  # fmt: skip


def test_across_hosts_it_is_refused_whatever_the_controller_says():
    a, b = pair()
    api.check(mesh(a, b))
    for bad in (
        (a, msgspec.structs.replace(b, host="k")),
        (a,),
        (msgspec.structs.replace(a, streams_out=(end("b", path="/etc/passwd"),)), b),
    ):
        with pytest.raises(msgspec.ValidationError):
            api.check(mesh(*bad))
