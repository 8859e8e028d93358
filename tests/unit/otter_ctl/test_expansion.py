"""`count` and globs: what they make, how ends pair, what the instances are called."""

from __future__ import annotations

import itertools
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otter_ctl.planning.expansion import expansion_lines
from otter_ctl.planning.resolve import plan
from otter_ctl.planning.uploads import collect
from otter_ctl.topology.globs import pair
from otter_ctl.topology.reader import Bad

HOSTS = 'name = "m"\n[hosts.client]\ncount = 3\ncpu = 1\n[hosts.server]\ncount = 3\n[hosts.hub]\n'


def links(topology) -> dict[str, tuple[str, str]]:
    return {link.name: (link.a, link.b) for link in topology.links}


def link(a: str, b: str, more: str = "") -> str:
    return f'[[links]]\nbetween = ["{a}", "{b}"]\n{more}'


def test_a_count_makes_hosts_like_the_first(read):
    hosts = read(HOSTS).hosts
    assert [h.name for h in hosts][:4] == ["client-1", "client-2", "client-3", "server-1"]
    assert {h.cpu for h in hosts if h.made_from == "client"} == {1.0}
    assert hosts[-1].made_from == ""


def test_a_count_of_one_is_numbered_too(read):
    assert [h.name for h in read('name = "m"\n[hosts.a]\ncount = 1\n').hosts] == ["a-1"]


def test_many_to_one(read):
    assert links(read(HOSTS + link("client-*", "hub"))) == {
        f"client-{i}-hub": (f"client-{i}", "hub") for i in (1, 2, 3)
    }


def test_equal_counts_pair_by_index(read):
    found = read(HOSTS + link("client-*", "server-*"))
    assert list(links(found).values()) == [(f"client-{i}", f"server-{i}") for i in (1, 2, 3)]
    assert found.expansion[-1].rule == "by index"


def test_unequal_counts_pair_all_with_all(read):
    found = read(HOSTS + link("client-*", "server-[12]"))
    assert len(links(found)) == 6
    assert found.expansion[-1].rule == "all with all"


def test_all_with_all_can_be_asked_for(read):
    assert len(links(read(HOSTS + link("client-*", "server-*", 'pair = "all"\n')))) == 9


def test_a_mesh_joins_each_pair_once_and_none_with_itself(read):
    found = read(HOSTS + link("client-*", "client-*"))
    assert links(found) == {
        "client-1-client-2": ("client-1", "client-2"),
        "client-1-client-3": ("client-1", "client-3"),
        "client-2-client-3": ("client-2", "client-3"),
    }
    assert found.expansion[-1].rule == "mesh"


def test_one_way_meshes_go_both_ways(read):
    found = read(HOSTS + '[[links]]\nfrom = "client-*"\nto = "client-*"\n')
    assert set(links(found).values()) == set(
        itertools.permutations(["client-1", "client-2", "client-3"], 2)
    )


def test_everyone_with_the_hub_leaves_out_the_hub_itself(read):
    found = links(read(HOSTS + link("*", "hub")))
    assert len(found) == 6
    assert ("hub", "hub") not in found.values()


def test_a_chain_by_index(read):
    found = links(read(HOSTS + link("client-[12]", "client-[23]")))
    assert list(found.values()) == [("client-1", "client-2"), ("client-2", "client-3")]


def test_names_of_links_stay_when_hosts_come(read):
    """Their ends name them, not their number: a new host renames, and so restarts, nothing."""
    named = link("client-*", "hub", 'name = "radio"\n')
    before = links(read(HOSTS + named))
    after = links(read(HOSTS.replace("count = 3", "count = 5", 1) + named))
    assert list(before) == ["radio-client-1", "radio-client-2", "radio-client-3"]
    assert before.items() <= after.items()


def test_parallel_links_of_globs_need_names(read, problems):
    twice = link("client-*", "hub")
    (error,) = problems(HOSTS + twice + twice)
    assert error.reason == "makes two links called `client-1-hub`"
    found = read(HOSTS + twice + link("client-*", "hub", 'name = "wire"\n'))
    assert len(found.links) == 6


def test_a_module_per_host_is_named_after_it(read, folder):
    text = HOSTS + '[modules.asr]\nbuild = "asr"\nhost = "client-*"\n'
    modules = read(text).modules
    assert [(m.name, m.host) for m in modules] == [
        (f"asr-client-{i}", f"client-{i}") for i in (1, 2, 3)
    ]


def test_a_count_of_modules(read):
    one_host = HOSTS + '[modules.asr]\nbuild = "asr"\nhost = "hub"\ncount = 2\n'
    assert [(m.name, m.host) for m in read(one_host).modules] == [
        ("asr-1", "hub"),
        ("asr-2", "hub"),
    ]
    placed = HOSTS + '[modules.asr]\nbuild = "asr"\ncount = 2\n'
    assert [m.host for m in read(placed).modules] == [None, None]


def test_a_count_and_a_glob_that_agree_pair_by_index(read):
    text = HOSTS + '[modules.asr]\nbuild = "asr"\nhost = "client-*"\ncount = 3\n'
    assert [(m.name, m.host) for m in read(text).modules] == [
        (f"asr-{i}", f"client-{i}") for i in (1, 2, 3)
    ]


STREAMS = (
    HOSTS
    + '[modules.asr]\nbuild = "asr"\nhost = "client-*"\n'
    + '[modules.vqa]\nbuild = "asr"\nhost = "server-*"\n'
    + '[modules.sink]\nbuild = "asr"\nhost = "hub"\n'
)


@pytest.mark.parametrize(
    ("source", "target", "count"),
    [("asr-*", "vqa-*", 3), ("asr-*", "sink", 3), ("sink", "asr-*", 3), ("asr-*", "vqa-*-[12]", 6)],
)
def test_streams_pair_as_links_do(read, source, target, count):
    text = f'{STREAMS}[[streams]]\nfrom = "{source}.out"\nto = "{target}.in"\n'
    assert len(read(text).streams) == count


def test_streams_of_a_group_among_itself(read):
    text = f'{STREAMS}[[streams]]\nfrom = "asr-*.out"\nto = "asr-*.in"\n'
    ends = {(s.source, s.target) for s in read(text).streams}
    assert len(ends) == 6
    assert all(a != b for a, b in ends)


@pytest.mark.slow
def test_the_plan_tells_what_was_made(read):
    text = (
        STREAMS.replace("count = 3", "count = 100", 1)
        + link("client-*", "hub")
        + '[[streams]]\nfrom = "asr-*.out"\nto = "sink.in"\n'
    )
    topology = read(text)
    made = plan(topology, current=None, runtime_default="fake", blobs=collect(topology), run="r")
    assert list(expansion_lines(made.expansion)) == [
        "hosts client -> client-1, client-2, …, client-100 (100, count)",
        "hosts server -> server-1, server-2, server-3 (3, count)",
        "links client-*-hub -> client-1-hub, client-2-hub, …, client-100-hub (100, all with all)",
        "modules asr -> asr-client-1, asr-client-2, …, asr-client-100 (100, one per host)",
        "modules vqa -> vqa-server-1, vqa-server-2, vqa-server-3 (3, one per host)",
        "streams asr-*.out>sink.in -> asr-client-1.out>sink.in, asr-client-2.out>sink.in, …, "
        "asr-client-100.out>sink.in (100, all with all)",
    ]


def test_a_new_instance_moves_and_restarts_no_other(read):
    """Addresses of what stays are kept when a count grows."""
    text = HOSTS + '[modules.asr]\nbuild = "asr"\nhost = "client-*"\n' + link("client-*", "hub")

    def planned(text, current):
        topology = read(text)
        blobs = collect(topology)
        made = plan(topology, current=current, runtime_default="fake", blobs=blobs, run="r")
        return made.spec

    before = planned(text, None)
    after = planned(text.replace("count = 3", "count = 7", 1), before)
    assert before.names.items() <= after.names.items()
    assert {m.name for m in after.modules} - {m.name for m in before.modules} == {
        f"asr-client-{i}" for i in (4, 5, 6, 7)
    }
    was = {m.name: m for m in before.modules}
    assert all(m == was[m.name] for m in after.modules if m.name in was)


NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


@pytest.mark.slow
@settings(deadline=None)
@given(NAMES, NAMES, st.sampled_from([None, "all", "index"]), st.booleans())
def test_pairs_join_no_one_with_itself_nor_two_twice(left, right, how, both_ways):
    try:
        made, rule = pair(left, right, how, both_ways=both_ways, limit=1000)
    except Bad:
        assert how == "index"
        assert len(left) != len(right)
        return
    pairs = list(made)
    assert all(a != b and a in left and b in right for a, b in pairs)
    distinct = {frozenset(p) for p in pairs} if both_ways else set(pairs)
    if rule != "by index":
        assert len(distinct) == len(pairs)
    if how != "index" and rule == "all with all":
        wanted = {(a, b) for a in left for b in right if a != b}
        met = set(pairs) | ({(b, a) for a, b in pairs} if both_ways else set())
        assert wanted <= met
    if rule == "mesh":
        assert len(pairs) == len(left) * (len(left) - 1) // (2 if both_ways else 1)


@pytest.mark.slow
@settings(deadline=None)
@given(NAMES, NAMES, st.booleans())
def test_many_pairs_are_refused_before_they_are_made(left, right, both_ways):
    fits = len(left) * len(right) <= (6 if both_ways else 3)
    with nullcontext() if fits else pytest.raises(Bad, match="make more than 3 pairs"):
        pair(left, right, "all", both_ways=both_ways, limit=3)
