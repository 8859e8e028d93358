"""Events with `attach`: hosts that move between cells."""

from __future__ import annotations

import msgspec
import pytest

from net.links.changes import Change
from otter_agent import api
from otter_ctl.planning.resolve import plan
from otter_ctl.topology.model import HostMove

TOP = """\
name = "m"
[hosts.phone]
[hosts.tablet]
[hosts.m1]
[hosts.m2]
[[links]]
between = ["m1", "m2"]
[cells.gnb1]
host = "m1"
members = ["phone"]
uplink = "20mbit"
downlink = "100mbit"
[cells.gnb2]
host = "m2"
members = ["tablet"]
uplink = "5mbit"
downlink = "30mbit"
efficiency = { "*" = 0.5 }
"""
AT = f'{TOP}[[events]]\nat = "3s"\n'
EVENT = f'{AT}host = "phone"\nattach = {{ cell = "gnb2", gap = "40ms" }}\n'


def planned(topology) -> api.MeshSpec:
    return plan(topology, current=None, runtime_default="fake", blobs={}, run="r").spec


def test_a_handover_is_down_then_up_and_a_move(read):
    topology = read(f'{EVENT}every = "20s"\n')
    leaves, comes = topology.events
    assert (leaves.at_s, leaves.both, leaves.change) == (
        3.0, ("gnb1-phone", "gnb2-phone"), Change.of(up=False),
    )  # fmt: skip
    assert (comes.at_s, comes.both, comes.change) == (3.04, ("gnb2-phone",), Change.of(up=True))
    assert leaves.every_s == comes.every_s == 20.0
    assert leaves.text == "phone: attaches to gnb2 after 40ms"
    assert topology.moves == (HostMove(at_s=3.0, host="phone", link="gnb2-phone", every_s=20.0),)


def test_who_comes_later_has_a_link_from_the_beginning_that_no_route_takes(read):
    spec = planned(read(EVENT))
    api.check(spec)
    links = {link.name: link for link in spec.links}
    assert links["gnb2-phone"].forward.up is False
    assert links["gnb2-phone"].forward.rate_bps == 2.5e6
    assert links["gnb1-phone"].forward.up is None
    assert {r.link for h in spec.hosts for r in h.routes} == {"gnb1-phone", "gnb2-tablet", "m1-m2"}
    assert [m.host for m in spec.cells[1].members] == ["tablet", "phone"]


def test_without_a_gap_it_is_there_at_once(read):
    text = f'{AT}host = ["phone", "tab*"]\nattach = {{ cell = "gnb2" }}\n'
    events = read(text).events
    assert [(e.at_s, e.text) for e in events] == [
        (3.0, "phone: attaches to gnb2"), (3.0, "phone: is attached to gnb2"),
        (3.0, "tablet: attaches to gnb2"), (3.0, "tablet: is attached to gnb2"),
    ]  # fmt: skip


def test_a_move_of_nobody_is_refused_by_the_agent(read):
    spec = planned(read(EVENT))
    moves = (api.Move(at_s=1.0, host="tablet", link="gnb2-phone"),)
    wrong = msgspec.structs.replace(spec, timeline=api.TimelineSpec(moves=moves))
    with pytest.raises(msgspec.ValidationError, match="host 'tablet' moves: it has no link"):
        api.check(wrong)


CASES = [
    (f'{AT}host = "fone" # <-\nattach = {{ cell = "gnb2" }}\n', "events[0].host", "unknown host"),
    (f'{AT}host = "phone"\nattach = {{ cell = "gnb3" }} # <-\n', "events[0].attach.cell",
     "unknown cell `gnb3`, did you mean"),
    (f'{AT}host = "phone"\nattach = {{ gap = "1ms" }} # <-\n', "events[0].attach",
     "missing key `cell`"),
    (f'{AT}host = "phone"\nattach = {{ cell = "gnb2", gap = "-1ms" }} # <-\n',
     "events[0].attach.gap", ""),
    (f'{TOP}[[events]] # <-\nat = "3s"\nattach = {{ cell = "gnb2" }}\n', "events[0]",
     "missing key `host`"),
    (f'{EVENT}set = {{ loss = "1%" }} # <-\n', "events[0].set", "goes not together with `attach`"),
    (f'{EVENT}for = "5s" # <-\n', "events[0].for", "goes not together with `attach`"),
    (f'{AT}host = "m1" # <-\nattach = {{ cell = "gnb2" }}\n', "events[0].host",
     "`m1` can't move: it has link `m1-m2`"),
    (f'{AT}host = "m2" # <-\nattach = {{ cell = "gnb2" }}\n', "events[0].host",
     "`m2` can't move: it has link `m1-m2`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "reason"), CASES)
def test_one_problem(one_problem, text, key, reason):
    one_problem(text, key, reason)


def test_who_is_in_two_cells_at_first_or_a_gateway_stays(problems):
    two = EVENT.replace('members = ["tablet"]', 'members = ["tablet", "phone"]')
    (error,) = problems(two)
    assert "`phone` can't move: it is in several cells at first" in error.reason
    (error,) = problems(EVENT.replace("[hosts.phone]\n", "[hosts.phone]\ngateway = true\n"))
    assert "`phone` can't move: it is a gateway" in error.reason
