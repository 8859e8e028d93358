"""Images that machines hold already: what bringing the others weighs where things are placed."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_ctl.placing import Flow, Item, Request, Room, UnplacedError, explain, total_s
from otter_ctl.placing import place as placed
from otter_ctl.placing.costs import IMAGE_BPS, RUN_S, brought_bytes, image_s
from otter_ctl.planning.held import held, questions
from otter_ctl.planning.hosting import Grounds, house
from otter_ctl.planning.placement import place as place_modules
from otter_ctl.topology import Host, Module

GB = 1_000_000_000


def near(source: str, target: str, size: float) -> float:
    return 0.0 if source == target else 0.001


def request(items, sends, *, rooms=("a", "b"), flows=(), cores=4.0, cross_s=near, **more):
    """Rooms are names, or (name, store)."""
    made = [room if isinstance(room, tuple) else (room, "") for room in rooms]
    return Request(
        rooms=tuple(Room(name=n, has={"cpu": cores}, store=store) for n, store in made),
        items=tuple(items),
        flows=tuple(
            Flow(name=f"{a}>{b}", source=a, target=b, message_bytes=1000, weight=weight)
            for a, b, weight in flows
        ),
        cross_s=cross_s,
        sends=sends,
        **more,
    )


def item(name: str, *images: str, cpu: float = 0.0, **more) -> Item:
    return Item(name=name, needs={"cpu": cpu} if cpu else {}, images=frozenset(images), **more)


def test_the_formula_by_hand():
    assert image_s(GB) == pytest.approx(8 * GB / IMAGE_BPS / RUN_S) == pytest.approx(0.01333, 1e-3)
    asked = request(
        [item("x", "i"), item("y", "i"), item("z", "j")],
        {("one", "i"): GB, ("one", "j"): GB // 2, ("two", "j"): GB},
        rooms=(("a", "one"), ("b", "one"), ("c", "two")),
    )
    seats = {"x": "a", "y": "b", "z": "b"}
    assert brought_bytes(asked, seats) == GB + GB // 2, "one machine is sent an image once"
    assert total_s(asked, seats) == pytest.approx(image_s(1.5 * GB))
    assert brought_bytes(asked, {"x": "c", "y": "c", "z": "c"}) == GB


@pytest.mark.parametrize("placer", ["greedy", "optimal"])
class TestWhere:
    @pytest.fixture(autouse=True)
    def solver(self, placer):
        if placer == "optimal":
            pytest.importorskip("highspy")

    def test_what_costs_the_same_goes_where_its_image_is(self, placer):
        asked = request([item("x", "i", cpu=1)], {("a", "i"): GB})
        assert placed(asked, placer) == {"x": "b"}

    def test_streams_outweigh_small_images_and_large_ones_outweigh_them(self, placer):
        """One message a second, a millisecond nearer."""
        for size, where in ((GB // 100, "a"), (GB, "b")):
            asked = request(
                [item("eye", room="a"), item("x", "i")], {("a", "i"): size}, flows=[("eye", "x", 1)]
            )
            assert placed(asked, placer)["x"] == where

    def test_who_shares_an_image_brings_it_once(self, placer):
        """Nobody has it: those that fit are on one machine, though two were emptier."""
        items = [item(f"x{n}", "i", cpu=1) for n in range(4)]
        sends = {("a", "i"): GB, ("b", "i"): GB}
        assert len(set(placed(request(items, sends), placer).values())) == 1
        few = request(items, sends, cores=2.0)
        assert sorted(placed(few, placer).values()) == ["a", "a", "b", "b"]

    def test_rooms_of_one_machine_share_what_is_there(self, placer):
        asked = request(
            [item("first", "i", room="a"), item("x", "i", cpu=1)],
            {("one", "i"): GB, ("two", "i"): GB},
            rooms=(("a", "one"), ("c", "two"), ("b", "one")),
        )
        assert placed(asked, placer)["x"] in ("a", "b")


@pytest.mark.slow
def test_greedy_finds_the_one_that_has_it_among_very_many():
    names = [f"r{n}" for n in range(300)]
    sends = {(name, "i"): GB for name in names if name != "r271"}
    asked = request([item("x", "i", cpu=1)], sends, rooms=names)
    assert placed(asked) == {"x": "r271"}


def test_why_is_told_in_bytes():
    asked = request(
        [item("eye", room="a"), item("x", "i"), item("new", "j", among=frozenset("a"))],
        {("a", "i"): GB, ("a", "j"): 12_345_678, ("c", "i"): 2 * GB},
        rooms=("a", "b", "c"),
        flows=[("eye", "x", 1)],
    )
    _, found, new = explain(asked, placed(asked))
    assert found.why == "costs least there; its images are there, or come with others"
    assert found.others == {
        "a": "saves 1ms in the messages of a second, but 1GB more of images would be brought there",
        "c": "2GB more of images would be brought there",
    }
    assert found.image_bytes == 0
    assert new.image_bytes == 12_345_678
    assert new.why == "the only host that it fits on; 12MB of images are brought there"


# --- whom a flow can't reach ----------------------------------------------------------------------


def barred(one: str, other: str, by: str) -> str:
    """`c` has links with nobody; `b` none over UDP."""
    if "c" in (one, other):
        return "no tunnels there"
    return "no UDP there" if by == "udp" and "b" in (one, other) else ""


@pytest.mark.parametrize("placer", ["greedy", "optimal"])
def test_rooms_without_a_way_between_them_have_no_flow(placer):
    if placer == "optimal":
        pytest.importorskip("highspy")
    items = [item("x", cpu=3), item("y", cpu=3), item("z", cpu=3)]
    asked = request(items, {}, rooms="abc", flows=[("x", "y", 1)], barred=barred)
    seats = placed(asked, placer)
    assert {seats["x"], seats["y"]} == {"a", "b"}
    assert seats["z"] == "c", "it talks to nobody"
    udp = Flow(name="u", source="x", target="y", message_bytes=1, by="udp")
    with pytest.raises(UnplacedError) as caught:
        placed(
            Request(
                rooms=asked.rooms, items=asked.items, flows=(udp,), cross_s=near, barred=barred
            ),
            placer,
        )
    said = caught.value.rejected.values()
    assert any("can have no link with" in why and "no UDP there" in why for why in said), said


# --- of topologies --------------------------------------------------------------------------------

MODULES = (
    Module(name="asr", image="asr:1"),
    Module(name="asr-2", image="asr:1"),
    Module(name="plain", command=("true",)),
    Module(name="local", image="x:1", runtime="process"),
    Module(name="vqa", image="vqa:1", runtime="docker"),
)


def look(module: str, size: int = 0) -> api.ImageLook:
    return api.ImageLook(
        module=module, reference=f"{module}:1", kind="cpu-amd64", present=size > 0, size_bytes=size
    )


def test_machines_are_asked_once_for_each_image():
    assert [m.name for m in questions(MODULES, {})] == ["asr", "vqa"]
    assert {m.image for m in questions(MODULES, {})} == {"asr:1", "vqa:1"}


def test_what_is_held_is_what_is_weighed():
    """Nobody has `vqa`: it has to be made wherever it goes. `bare` has no engine."""
    found = held(MODULES, {"m1": [look("asr", GB), look("vqa")], "m2": [look("asr")], "bare": []})
    assert found.of == {"asr": "asr", "asr-2": "asr", "vqa": "vqa"}
    assert found.sends == {("m2", "asr"): GB, ("bare", "asr"): GB}
    assert found.needed(MODULES[1:3]) == {"asr"}


def test_modules_go_to_hosts_whose_machine_has_their_image():
    images = held(MODULES, {"m1": [look("asr")], "m2": [look("asr", GB)]})
    hosts = [Host(name="a"), Host(name="b"), Host(name="c")]
    found = place_modules(
        hosts, MODULES[:3], [], {}, cross_s=near, offers={}, images=images,
        machines={"a": "m1", "b": "m1", "c": "m2"},
    )  # fmt: skip
    assert found.seats == {"asr": "c", "asr-2": "c", "plain": "a"}


def test_hosts_go_to_machines_that_have_the_images_of_their_modules(read):
    asked = read(
        'name = "m"\n[machines.m1]\n[machines.m2]\n[hosts.a]\namong = ["m1", "m2"]\n'
        '[hosts.b]\namong = ["m1", "m2"]\n'
        '[modules.asr]\nhost = "a"\nimage = "asr:1"\n[modules.x]\nhost = "b"\ncommand = ["true"]\n'
        'runtime = "process"\n'
    )
    docker = api.RuntimeFact(name="docker", usable=True, detail="")
    process = api.RuntimeFact(name="process", usable=True, detail="")
    infos = {
        name: api.Info(
            agent=name, version="1", api_version=1, pid=1, root="/", machine=name, cpus=4,
            memory_bytes=8 << 30, arch="x86_64", kernel="6", cgroup="v2",
            runtimes=(docker, process), link_driver="tun",
        )
        for name in ("m1", "m2")
    }  # fmt: skip
    images = held(asked.modules, {"m1": [look("asr")], "m2": [look("asr", GB)]})
    found = house(asked, Grounds(infos, images=images))
    assert found.machines == {"a": "m2", "b": "m1"}
    assert house(asked, Grounds(infos)).machines["a"] == "m1"
    (reason, _) = found.reasons()
    assert reason.others["m1"] == "1GB more of images would be brought there"
