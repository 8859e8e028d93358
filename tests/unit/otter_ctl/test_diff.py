"""Diff: nothing of the same, every field of what differs, and restarts told truly."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.links.spec import LinkSpec
from otter_agent import api
from otter_ctl.planning.diff import Change, FieldChange, diff, with_secrets

HOST = api.HostSpec(name="a", address="100.64.0.1", block="100.64.0.0/24", cpu=1.0)
LINK = api.Link(name="a-b", a="a", b="b", forward=LinkSpec(delay_s=0.02))
MODULE = api.ModuleSpec(
    name="m", host="a", address="100.64.0.2", runtime="docker", env={"A": "1"}, cpu=0.5,
    build=api.Build(context="0" * 64),
)  # fmt: skip
MESH = api.MeshSpec(name="mesh", run="r", hosts=(HOST,), links=(LINK,), modules=(MODULE,))


def replaced(item, **fields):
    return msgspec.structs.replace(item, **fields)


def one(desired: api.MeshSpec, current: api.MeshSpec = MESH) -> Change:
    (change,) = diff(current, desired)
    return change


def with_module(**fields) -> api.MeshSpec:
    return replaced(MESH, modules=(replaced(MODULE, **fields),))


def test_nothing():
    assert diff(MESH, MESH) == diff(None, None) == []
    assert diff(MESH, replaced(MESH, run="another", names={"x": "y"})) == []


def test_everything_new_and_everything_gone():
    created = diff(None, MESH)
    assert [(c.kind, c.subject, c.name) for c in created] == [
        ("create", "mesh", "mesh"), ("create", "host", "a"), ("create", "link", "a-b"),
        ("create", "module", "m"),
    ]  # fmt: skip
    assert FieldChange("build.base", None, "python") in created[3].fields
    assert FieldChange("forward.delay_s", None, 0.02) in created[2].fields
    assert all(f.old is None and f.new is not None for c in created for f in c.fields)
    assert {c.kind for c in diff(MESH, None)} == {"remove"}


def test_live_fields_update():
    ready = api.Ready(tcp=80)
    assert one(with_module(cpu=1.0, restart="always", ready=ready)) == Change(
        "update", "module", "m", (
            FieldChange("cpu", 0.5, 1.0),
            FieldChange("ready.tcp", None, 80),
            FieldChange("restart", "on-failure", "always"),
        ),
    )  # fmt: skip


def test_other_fields_replace():
    change = one(with_module(cpu=None, env={"A": "2", "B": "3"}))
    assert change == Change(
        "replace", "module", "m", (
            FieldChange("cpu", 0.5, None),
            FieldChange("env.A", "1", "2", needs_restart=True),
            FieldChange("env.B", None, "3", needs_restart=True),
        ),
        restart=True, because=("env.A", "env.B"),
    )  # fmt: skip


def end(stream: str, peer: str, **more) -> api.StreamEnd:
    fields = {"port_name": "x", "address": "100.64.0.2", "port": 7070} | more
    return api.StreamEnd(stream=stream, peer=peer, **fields)


def test_what_follows_from_changes_elsewhere_says_so():
    """Streams by name, addresses by their reason."""
    now = with_module(
        streams_in=(end("n.a>m.x", "n", source_address="100.64.0.3"), end("o.a>m.x", "o")),
        streams_out=(end("m.y>n.x", "n", address="100.64.0.3"),),
    )
    then = with_module(
        streams_in=(end("n.a>m.x", "n", source_address="100.64.1.2"), end("q.a>m.x", "q")),
        streams_out=(end("m.y>n.x", "n", address="100.64.1.2", queue=4),),
    )
    change = one(then, now)
    assert change.restart
    assert change.because == (
        "stream n.a>m.x: n gets another address",
        "stream o.a>m.x is gone",
        "stream q.a>m.x is new",
        "stream m.y>n.x: n gets another address",
        "stream m.y>n.x: queue",
    )
    assert [f.field for f in change.fields][:2] == [
        "streams_in.n.a>m.x.source_address", "streams_in.o.a>m.x",
    ]  # fmt: skip
    assert one(with_module(host="b", address="100.64.1.2")).because == ("host",)
    assert one(with_module(address="100.64.0.9")).because == ("gets another address",)


def test_files_by_their_targets():
    before = with_module(files=(api.File(target="a", blob="1"), api.File(target="b", blob="2")))
    after = with_module(files=(api.File(target="a", blob="3"), api.File(target="c", blob="2")))
    assert one(after, before).because == ("files.a.blob", "files.b", "files.c")


def test_what_was_stopped_starts_whatever_else_changes():
    both = replaced(MESH, modules=(MODULE, replaced(MODULE, name="n")))
    changes = diff(both, both, stopped=("n", "not-there"))
    assert changes == [Change("start", "module", "n")]
    changed = replaced(both, modules=(MODULE, replaced(MODULE, name="n", env={})))
    (change,) = diff(both, changed, stopped=("n",))
    assert (change.kind, change.restart) == ("start", False)
    assert diff(both, None, stopped=("n",)) == diff(both, None)


def test_optional_parts_that_come_and_go():
    assert one(with_module(build=None, image="x")).fields == (
        FieldChange("build.base", "python", None, needs_restart=True),
        FieldChange("build.context", "0" * 64, None, needs_restart=True),
        FieldChange("image", None, "x", needs_restart=True),
    )


def test_links_change_live_but_for_their_ends():
    faster = replaced(LINK, forward=LinkSpec(delay_s=0.01, rate_bps=1e6))
    assert one(replaced(MESH, links=(faster,))) == Change(
        "update", "link", "a-b", (
            FieldChange("forward.delay_s", 0.02, 0.01),
            FieldChange("forward.rate_bps", None, 1e6),
        ),
    )  # fmt: skip
    assert one(replaced(MESH, links=(replaced(LINK, b="c"),))).kind == "replace"


def test_a_direction_without_properties_shows_too():
    change = one(replaced(MESH, links=(replaced(LINK, reverse=LinkSpec()),)))
    assert [f.field for f in change.fields] == ["reverse"]


def test_hosts_change_live_but_for_their_addresses():
    route = api.Route(to=("100.64.1.0/24",), via="100.64.1.1", link="a-b")
    change = one(replaced(MESH, hosts=(replaced(HOST, cpu=2.0, routes=(route,)),)))
    assert (change.kind, [f.field for f in change.fields]) == ("update", ["cpu", "routes"])
    moved = replaced(HOST, address="100.64.9.1", block="100.64.9.0/24")
    assert one(replaced(MESH, hosts=(moved,))).kind == "replace"


def test_the_seed():
    assert one(replaced(MESH, seed=3)) == Change(
        "update", "mesh", "mesh", (FieldChange("seed", 0, 3),)
    )


def test_sorted_by_subject_and_name():
    links = tuple(replaced(LINK, name=name) for name in "cab")
    names = [(c.subject, c.name) for c in diff(None, replaced(MESH, links=links))]
    assert names == [
        ("mesh", "mesh"), ("host", "a"), ("link", "a"), ("link", "b"), ("link", "c"),
        ("module", "m"),
    ]  # fmt: skip


SPEC = st.builds(
    LinkSpec,
    delay_s=st.none() | st.sampled_from([0.0, 1.0]),
    rate_bps=st.none() | st.sampled_from([1e3, 1e6]),
)
MODULES = st.builds(
    api.ModuleSpec,
    name=st.sampled_from("xyz"),
    host=st.sampled_from("ab"),
    address=st.just("100.64.0.2"),
    runtime=st.sampled_from(["docker", "process"]),
    cpu=st.none() | st.sampled_from([0.5, 1.0]),
    env=st.dictionaries(st.sampled_from("AB"), st.sampled_from("12")),
    ready=st.builds(api.Ready, tcp=st.none() | st.just(80), sdk=st.booleans()),
    build=st.none() | st.builds(api.Build, context=st.sampled_from("01")),
    restart=st.sampled_from(["no", "always"]),
)
LINKS = st.builds(
    api.Link,
    name=st.sampled_from("xy"), a=st.just("a"), b=st.sampled_from("bc"),
    forward=SPEC, reverse=st.none() | SPEC,
)  # fmt: skip


def by_name(items):
    return tuple({item.name: item for item in items}.values())


MESHES = st.builds(
    api.MeshSpec,
    name=st.just("m"),
    run=st.just("r"),
    seed=st.integers(0, 1),
    links=st.lists(LINKS, max_size=2).map(by_name),
    modules=st.lists(MODULES, max_size=3).map(by_name),
)


@pytest.mark.slow
@given(MESHES)
def test_the_same_has_no_changes(mesh):
    assert diff(mesh, mesh) == []
    assert diff(mesh, api.decode(api.encode(mesh), api.MeshSpec)) == []


@pytest.mark.slow
@given(MESHES, MESHES)
def test_what_differs_shows_and_restarts_are_the_agents(old, new):
    changes = {(c.subject, c.name): c for c in diff(old, new)}
    before, after = ({m.name: m for m in mesh.modules} for mesh in (old, new))
    for name, module in after.items():
        change = changes.get(("module", name))
        if name not in before:
            assert change.kind == "create"
        elif before[name] == module:
            assert change is None
        else:
            restarts = api.instance_digest(before[name]) != api.instance_digest(module)
            assert change.fields
            assert (change.kind == "replace") == restarts
            assert any(f.needs_restart for f in change.fields) == restarts
    gone = {n for (s, n), c in changes.items() if s == "module" and c.kind == "remove"}
    assert gone == before.keys() - after.keys()
    for link in new.links:
        same = link in old.links
        assert (("link", link.name) in changes) == (not same)


@pytest.mark.parametrize("field", ["cpu", "memory_bytes", "restart", "outputs", "ready"])
def test_what_the_agent_changes_live(field):
    values = {"cpu": 3.0, "memory_bytes": 5, "restart": "no", "outputs": ("x",)}
    new = with_module(**{field: values.get(field, api.Ready(sdk=True))})
    assert one(new).kind == "update"


def test_other_secrets_restart_what_runs_with_them():
    field = FieldChange("secrets.T", "a value", "another value", needs_restart=True)
    (change,) = with_secrets([], {"m": ["T"]})
    assert change == Change("replace", "module", "m", (field,), True, ("secrets.T",))
    live = diff(MESH, replaced(MESH, modules=(replaced(MODULE, cpu=0.25),)))
    (change,) = with_secrets(live, {"m": ["T"]})
    assert (change.kind, change.restart, change.because) == ("replace", True, ("secrets.T",))
    assert [f.field for f in change.fields] == ["cpu", "secrets.T"]
    for kind in ("create", "start", "remove"):  # nothing runs with the old one
        assert with_secrets([Change(kind, "module", "m")], {"m": ["T"]})[0].kind == kind


@pytest.mark.parametrize("field", ["env", "mounts"])
def test_the_first_and_the_last_of_several_are_changes_of_them_alone(field):
    some = {"env": {"B": "2"}, "mounts": (api.Mount(source="/s", target="/t"),)}[field]
    without = with_module(**{field: type(some)()})
    with_it = with_module(**{field: some})
    name = {"env": "env.B", "mounts": "mounts./t"}[field]
    for current, desired in ((without, with_it), (with_it, without)):
        change = one(desired, current)
        assert [f.field for f in change.fields] == [name]
        assert change.because == (name,)
