"""Changes as messages to the kernel, written before their time."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.netem import place as places
from otter_agent.links.netem import tc, tree
from otter_agent.links.netem.place import Place
from otter_agent.links.netem.playing import letters
from otter_agent.links.netem.playing.protocol import Lent

WAY = Direction("mesh", "radio", "a", "b", "na", "nb", "l0")
LATE_NS = 1_000_000
FULL = LinkSpec(delay_s=0.02, rate_bps=5e6, loss_ratio=0.01, queue_bytes=60_000)


def place(spec: LinkSpec) -> Place:
    """As it is when a link has what is asked."""
    made = Place(source=4, target=7, detour=8, ingress=True, filtered=True)
    made.tree = tree.wanted(spec, late_ns=LATE_NS)
    made.htb = made.tree.share is not None
    return made


def said(data: bytes) -> list[tuple[int, int, int]]:
    """Of each message: type, flags, and the handle that it is about."""
    found = []
    while data:
        length, kind, flags = struct.unpack_from("=IHH", data)
        found.append((kind, flags, tc.handle_of(data[16:length])))
        data = data[length + 3 & ~3 :]
    return found


def handles(data: bytes) -> list[int]:
    return [handle for _, _, handle in said(data)]


def test_only_what_differs_is_said():
    here = place(FULL)
    letter = letters.write(here, replace(FULL, delay_s=0.03), LATE_NS, 10)
    assert (letter.source, handles(letter.target)) == (b"", [places.FLIGHT])
    assert letter.numbers == range(10, 11)
    again = letters.write(here, replace(FULL, delay_s=0.03), LATE_NS, 11)
    assert (again.source, again.target) == (b"", b"")


def test_a_rate_is_that_of_the_queue_and_of_each_packet():
    letter = letters.write(place(FULL), replace(FULL, rate_bps=6e6), LATE_NS, 1)
    assert handles(letter.source) == [places.SHARE]
    assert handles(letter.target) == [places.PACE]


def test_nobody_is_asked_to_confirm_anything():
    letter = letters.write(place(FULL), LinkSpec(delay_s=0.5, rate_bps=1e6), LATE_NS, 1)
    flags = [flags for _, flags, _ in said(letter.source + letter.target)]
    assert len(flags) >= 4
    assert not any(flag & (tc.F_ECHO | 0x4) for flag in flags)
    assert all(flag & 0x1 for flag in flags)
    assert letter.asks == 0


def test_what_goes_down_asks_how_many_were_dropped_by_then():
    here = place(FULL)
    letter = letters.write(here, replace(FULL, up=False), LATE_NS, 30)
    assert [flags & tc.F_ECHO for _, flags, _ in said(letter.source)] == [tc.F_ECHO]
    assert letter.asks == 30
    assert letters.write(here, replace(FULL, up=False, loss_ratio=0.5), LATE_NS, 31).asks == 0
    assert letters.write(here, FULL, LATE_NS, 32).asks == 32


def test_a_first_rate_makes_its_queue_before_it_holds_anything_up():
    letter = letters.write(place(LinkSpec(delay_s=0.01)), FULL, LATE_NS, 1)
    made = handles(letter.source)
    share = [n for n, handle in enumerate(made) if handle == places.SHARE]
    assert made.index(places.SHARES) < share[0] < made.index(places.LEAF_HANDLES["bfifo"])
    assert share[-1] == len(made) - 1


def test_what_needs_a_device_that_is_not_there_is_refused():
    bare = Place(source=4, target=7)
    with pytest.raises(letters.Unfit, match="no queue yet"):
        letters.write(bare, LinkSpec(delay_s=0.01), LATE_NS, 1)
    assert handles(letters.write(bare, LinkSpec(loss_ratio=0.1), LATE_NS, 1).source) == [
        places.ENTRY
    ]


@pytest.mark.parametrize(
    "spec",
    [
        LinkSpec(),
        FULL,
        LinkSpec(delay_s=0.05, jitter_s=0.01, reorder_ratio=0.1),
        LinkSpec(rate_bps=80e9, queue_discipline="red", ecn=True, overhead_bytes=8),
        LinkSpec(rate_bps=1e6, queue_discipline="codel", queue_packets=100),
        LinkSpec(loss_gilbert=(0.1, 0.2, 0.9, 0.0), delay_s=0.01, slot_s=(0.01, 0.02)),
        LinkSpec(up=False),
    ],
)
def test_what_is_lent_is_known_there_as_it_is(spec: LinkSpec):
    here = place(spec)
    lent = Lent(
        direction=WAY, inodes=(1, 2), devices=(4, 7, 8), ready=True, late_ns=LATE_NS,
        have=letters.told(here.tree),
    )  # fmt: skip
    there = letters.place_of(lent)
    assert there == here
    letter = letters.write(there, spec, LATE_NS, 1)
    assert (letter.source, letter.target) == (b"", b"")


@pytest.mark.parametrize("apart", ["up", "down"])
def test_a_member_of_a_cell_goes_down_without_a_word_about_what_all_share(apart: tree.Apart):
    member = replace(FULL, medium="cell", loss_ratio=None)
    here = Place(source=4, target=7, apart=apart, detour=8, ingress=True, filtered=True)
    here.tree = tree.wanted(member, apart=apart, late_ns=LATE_NS)
    lent = Lent(
        direction=WAY, inodes=(1, 2), devices=(4, 7, 8), ready=True, late_ns=LATE_NS,
        have=letters.told(here.tree), apart=apart,
    )  # fmt: skip
    letter = letters.write(letters.place_of(lent), replace(member, up=False), LATE_NS, 1)
    assert (handles(letter.source), letter.target) == ([places.ENTRY], b"")


def test_a_half_that_is_there_stays_without_effect():
    here = place(FULL)
    letters.write(here, LinkSpec(), LATE_NS, 1)
    assert here.tree.pace == tree.IDLE
    assert here.tree.leaf is not None
    assert tree.spec_of(here.tree) == LinkSpec()
