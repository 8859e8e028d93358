"""Which messages make a direction what is wanted, and what is somebody else's."""

from __future__ import annotations

import pytest

from net.links.spec import LinkSpec
from otter_agent.links.netem import place as places
from otter_agent.links.netem import tc
from otter_agent.links.netem.options import Netem
from otter_agent.links.netem.place import Place, detour_device, steps
from otter_agent.links.netem.tc import Stats
from otter_agent.links.netem.tree import wanted

EVERYTHING = LinkSpec(delay_s=0.02, loss_ratio=0.1, rate_bps=1e6, queue_bytes=15_000)


def fresh() -> Place:
    return Place(source=2, target=3, detour=4)


def carry_out(place: Place, spec: LinkSpec) -> list[str]:
    """As a kernel that does what it's told; returns the parts that were touched."""
    want = wanted(spec, place.tree)
    todo = steps(place, want)
    for step in todo:
        if step.request.kind in (tc.RTM_NEWQDISC, tc.RTM_NEWTCLASS):
            seen = tc.parse(step.request.kind, step.request.body)
            places.absorb(place, seen, step.side)
        if step.part == "detour":
            place.ingress = place.filtered = True
    assert places.agrees(place.tree, want)
    return [step.part for step in todo]


def test_everything_at_once() -> None:
    place = fresh()
    assert carry_out(place, EVERYTHING) == [
        *("wire", "flight", "pace", "ingress", "undo", "detour"),
        *("entry", "htb", "share", "leaf", "share"),
    ]


def test_the_queue_comes_while_nothing_waits() -> None:
    """What waits in a queue is lost when another takes its place."""
    todo = [step.request for step in steps(fresh(), wanted(EVERYTHING)) if step.part == "share"]
    opened, limited = (tc.parse(request.kind, request.body) for request in todo)
    rates = [places.Share.decode(seen.options).rate for seen in (opened, limited)]
    assert rates == [10**12, 125_000]


def test_what_comes_in_takes_the_detour_only_once_that_leads_somewhere() -> None:
    parts = [step.part for step in steps(fresh(), wanted(LinkSpec(delay_s=0.02)))]
    assert parts.index("wire") < parts.index("detour")
    assert parts.index("flight") < parts.index("detour")


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({}, []),
        ({"delay_s": 0.03}, ["flight"]),
        ({"loss_ratio": 0.2}, ["entry"]),
        ({"rate_bps": 2e6}, ["pace", "share"]),
        ({"queue_bytes": 30_000}, ["leaf"]),
        ({"queue_bytes": None, "queue_packets": 10}, ["leaf"]),
        ({"rate_bps": None, "queue_bytes": None}, ["pace", "share"]),
        ({"overhead_bytes": 4}, ["wire", "entry"]),
    ],
)
def test_a_change_touches_what_differs_and_makes_nothing_anew(change, touched) -> None:
    place = fresh()
    carry_out(place, EVERYTHING)
    changed = LinkSpec(**EVERYTHING.asked() | change)
    todo = steps(place, wanted(changed, place.tree))
    other_kind = "queue_packets" in change
    assert all(not step.request.flags & 0x400 for step in todo) != other_kind
    assert carry_out(place, changed) == touched


def test_half_of_it_is_completed() -> None:
    place = fresh()
    carry_out(place, EVERYTHING)
    place.tree = wanted(LinkSpec(loss_ratio=0.1))
    place.filtered = False
    parts = carry_out(place, EVERYTHING)
    assert parts == ["wire", "flight", "pace", "undo", "detour", "share", "leaf", "share"]


def seen(index: int, handle: int, parent: int, kind: str) -> tc.Seen:
    return tc.Seen(tc.RTM_NEWQDISC, index, handle << 16, parent, kind, b"", None, Stats())


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (seen(2, 0x8001, tc.ROOT, "tbf"), "tbf 8001:"),
        (seen(2, 0x4F01, tc.ROOT, "prio"), "prio 4f01:"),
        (seen(2, 0x8002, 0x4F010001, "tbf"), "tbf 8002:"),
        (seen(2, 0x4F03, tc.ROOT, "bfifo"), "bfifo 4f03:"),
        (seen(2, 0x4F05, 0x4F010001, "netem"), "netem 4f05:"),
        (seen(2, 0, tc.ROOT, "noqueue"), ""),
        (seen(2, 0x4F01, tc.ROOT, "netem"), ""),
        (seen(2, 0x4F02, 0x4F010001, "htb"), ""),
        (seen(2, 0x4F05, 0x4F040001, "netem"), ""),
        (seen(7, 0x8001, tc.ROOT, "tbf"), ""),
        (seen(2, 0xFFFF, tc.INGRESS, "clsact"), ""),
    ],
)
def test_what_is_somebody_elses(one: tc.Seen, said: str) -> None:
    assert places.foreign([one], 2) == said


def test_of_another_device_nothing_is_taken_in() -> None:
    place = fresh()
    body = tc.put_qdisc(9, places.ENTRY, tc.ROOT, Netem(loss=1), "", new=True).body
    places.absorb(place, tc.parse(tc.RTM_NEWQDISC, body), "source")
    places.absorb(place, tc.parse(tc.RTM_NEWQDISC, body), "target")
    assert place == fresh()


def test_names_of_detours_fit_and_differ() -> None:
    assert detour_device("radio") == "s.radio"
    long = ["a-long-link~abc", "a-long-link~abd", "a-long-link-abcdefg"[:15]]
    found = [detour_device(name) for name in long]
    assert len(set(found)) == 3
    assert max(map(len, found)) <= 15
