"""`[cells.NAME]`, events of cells and changes of them by hand, down to what links get."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from net.links.changes import Change
from net.links.spec import LinkSpec
from net.links.traces.trace import Played
from otter_agent import api
from otter_agent.links.cells import statuses
from otter_ctl.errors import UnknownNameError
from otter_ctl.planning.diff import diff
from otter_ctl.planning.resolve import plan
from otter_ctl.shaping import cell_changes, chosen_cells
from otter_ctl.topology.model import Cell, Member

TOP = """\
name = "m"
[hosts.edge]
[hosts.sat]
[hosts.client]
count = 3
"""
BASE = f'{TOP}[cells.gnb1]\nhost = "edge"\n'
CELL = f'{BASE}members = ["client-*"]\nuplink = "50mbit"\ndownlink = "300mbit"\ndelay = "8ms"\n'
EVENT = f'{CELL}[[events]]\nat = "1s"\ncell = "gnb1"\n'
UP = LinkSpec(rate_bps=50e6, delay_s=0.008, medium="gnb1:up")
DOWN = LinkSpec(rate_bps=300e6, delay_s=0.008, medium="gnb1:down")


def planned(topology) -> api.MeshSpec:
    return plan(topology, current=None, runtime_default="fake", blobs={}, run="r").spec


def test_each_member_has_a_link_whose_ways_share_the_cells_media(read):
    topology = read(CELL)
    assert [(x.name, x.a, x.b) for x in topology.links] == [
        (f"gnb1-client-{n}", f"client-{n}", "edge") for n in (1, 2, 3)
    ]
    assert {(x.forward, x.reverse) for x in topology.links} == {(UP, DOWN)}
    assert topology.cells == (
        Cell(
            name="gnb1", host="edge", uplink_bps=50e6, downlink_bps=300e6,
            members=tuple(Member(host=f"client-{n}", link=f"gnb1-client-{n}") for n in (1, 2, 3)),
        ),
    )  # fmt: skip


def test_half_duplex_is_one_medium_and_needs_one_capacity(read):
    text = f'{BASE}members = ["sat"]\nuplink = "50mbit"\nhalf_duplex = true\n'
    (link,) = read(text).links
    assert link.forward == link.reverse == LinkSpec(rate_bps=50e6, medium="gnb1")


def test_efficiency_is_a_rate_and_weights_are_weights(read):
    text = f'{CELL}share = "weights"\nweights = {{ "client-*" = 2, "client-3" = 0.5 }}\n'
    links = read(f'{text}efficiency = {{ "client-2" = 4.5 }}\n').links
    assert [x.forward.rate_bps for x in links] == [50e6, 225e6, 50e6]
    assert [x.reverse.rate_bps for x in links] == [300e6, 1350e6, 300e6]
    assert [x.forward.medium_weight for x in links] == [2, 2, 0.5]


def test_a_profile_brings_capacity_and_the_file_wins(read):
    text = f'{BASE}members = ["*"]\nprofile = "wifi-5"\nhalf_duplex = true\ndownlink = "7mbit"\n'
    topology = read(text)
    assert [x.a for x in topology.links] == ["sat", "client-1", "client-2", "client-3"]
    assert topology.cells[0].downlink_bps == 7e6
    assert topology.links[0].forward.delay_s is not None


def test_a_host_can_be_in_two_cells_and_links_beside(read):
    text = f'{CELL}[cells.gnb2]\nhost = "sat"\nmembers = ["client-1"]\nuplink = "1mbit"\n'
    text += 'downlink = "1mbit"\n[[links]]\nbetween = ["edge", "sat"]\n'
    names = [link.name for link in read(text).links]
    assert names == ["edge-sat", *(f"gnb1-client-{n}" for n in (1, 2, 3)), "gnb2-client-1"]


def test_what_links_have_by_default_is_not_for_cells(read):
    assert read(f'{CELL}[defaults.link]\nloss = "50%"\n').links[0].forward == UP


def test_an_efficiency_over_time_is_a_trace_of_rates(read, folder):
    (folder / "walk.txt").write_text("0 2\n1 0.5\n")
    text = f'{CELL}efficiency = {{ "client-*" = 2, "client-2" = "walk.txt" }}\n'
    links = read(text).links
    assert [x.forward.rate_bps for x in links] == [100e6, 50e6, 100e6]
    assert [x.forward_trace is not None for x in links] == [False, True, False]
    up, down = links[1].forward_trace, links[1].reverse_trace
    assert Played(up.trace, up.manner).values(0.5) == {"rate_bps": 100e6}
    assert Played(down.trace, down.manner).values(1.5) == {"rate_bps": 150e6}


def test_an_efficiency_from_a_model_is_each_members_own(read):
    model = '{ generate = "random-walk", rates = ["1mbit", "5mbit"], scale = 0.5 }'
    links = read(f'{CELL}efficiency = {{ "client-*" = {model} }}\n').links
    assert len({x.forward_trace.trace.seed for x in links}) == 3
    assert {x.forward_trace.manner.scale["rate_bps"] for x in links} == {25.0}


# --- events ---------------------------------------------------------------------------------------


def test_an_event_of_a_cell_is_one_of_all_its_links(read):
    (event,) = read(f'{EVENT}set = {{ delay = "20ms" }}\nfor = "5s"\n').events
    assert event.both == tuple(f"gnb1-client-{n}" for n in (1, 2, 3))
    assert (event.change, event.text) == (
        Change.of(delay_s=0.02), "cell gnb1: delay 20ms for 5s",
    )  # fmt: skip


def test_a_capacity_is_one_way_and_each_member_has_its_efficiencys_part(read):
    text = CELL + 'efficiency = { "client-1" = 2 }\n[[events]]\nat = "1s"\ncell = "*"\n'
    events = read(f'{text}set = {{ uplink = "10mbit" }}\nramp = "1s"\n').events
    assert [(e.forward, e.both, e.reverse, e.change.values["rate_bps"]) for e in events] == [
        (("gnb1-client-1",), (), (), 20e6),
        (("gnb1-client-2", "gnb1-client-3"), (), (), 10e6),
    ]
    both = read(f'{text}set = {{ uplink = "1mbit", loss = "1%" }}\n').events
    down = [e for e in both if e.reverse]
    assert [e.change for e in down] == [Change.of(loss_ratio=0.01)]


# --- what the agent gets, and shows ---------------------------------------------------------------


def test_the_agent_is_told_of_cells_and_what_differs_is_planned(read):
    plain = planned(read(CELL))
    api.check(plain)
    assert [(c.name, c.host, len(c.members)) for c in plain.cells] == [("gnb1", "edge", 3)]
    other = planned(read(CELL.replace("50mbit", "100mbit") + 'efficiency = { "client-1" = 0.5 }\n'))
    fields = {f.field: f.new for change in diff(plain, other) for f in change.fields}
    assert fields["cells.gnb1.efficiency.client-1"] == 0.5
    assert fields["forward.rate_bps"] == 100e6
    assert fields["reverse.rate_bps"] == 150e6


def test_a_cell_without_its_links_is_refused(read):
    spec = planned(read(CELL))
    with pytest.raises(ValueError, match="cell gnb1: member 'client-1': no such link"):
        api.check(api_replace(spec, links=spec.links[1:]))


def api_replace(spec: api.MeshSpec, **values) -> api.MeshSpec:
    return msgspec.structs.replace(spec, **values)


def status_of(spec: api.MeshSpec, **changed: LinkSpec) -> api.CellStatus:
    links = []
    for link in spec.links:
        for a, b, asked in ((link.a, link.b, link.forward), (link.b, link.a, link.reverse)):
            assert asked is not None
            asked = changed.get(a.replace("-", "_"), asked)
            links.append(
                api.LinkStatus(
                    name=link.name, from_=a, to=b, driver="tun", asked=asked.asked(), applied=None
                )
            )
    (status,) = statuses(spec.cells, links)
    return status


def test_status_tells_the_capacity_that_is_asked_now(read):
    spec = planned(read(f'{CELL}efficiency = {{ "client-2" = 0.3 }}\n'))
    status = status_of(spec)
    assert (status.uplink_bps, status.downlink_bps) == pytest.approx((50e6, 300e6))
    differs = status_of(spec, client_1=replace(UP, rate_bps=1e6))
    assert (differs.uplink_bps, differs.downlink_bps) == (None, pytest.approx(300e6))


def test_changes_by_hand_are_those_of_members(read):
    status = status_of(planned(read(f'{CELL}efficiency = {{ "client-2" = 0.5 }}\n')))
    changes = list(cell_changes([status], {"uplink": 1e6}, {}, 5.0))
    assert [(c.link, c.direction, c.set, c.for_s) for c in changes] == [
        ("gnb1-client-1", "client-1>edge", {"rate_bps": 1e6}, 5.0),
        ("gnb1-client-2", "client-2>edge", {"rate_bps": 0.5e6}, 5.0),
        ("gnb1-client-3", "client-3>edge", {"rate_bps": 1e6}, 5.0),
    ]
    both = list(cell_changes([status], {"downlink": 2e6}, {"delay_s": 0.1}, None))
    assert [c.set for c in both[:2]] == [{"delay_s": 0.1}, {"delay_s": 0.1, "rate_bps": 2e6}]


def test_cells_that_are_meant(read):
    status = status_of(planned(read(CELL)))
    assert chosen_cells([status], ["gnb*"], "m") == chosen_cells([status], [], "m") == [status]
    with pytest.raises(UnknownNameError, match="cell gmb1: not in mesh m; there are: gnb1"):
        chosen_cells([status], ["gmb1"], "m")
    with pytest.raises(UnknownNameError, match="mesh m: has no cells"):
        chosen_cells([], [], "m")


# --- what is wrong --------------------------------------------------------------------------------

CASES = [
    (f'{TOP}[cells.x] # <-\nmembers = ["sat"]\nuplink = "1mbit"\ndownlink = "1mbit"\n', "cells.x",
     "missing key `host`"),
    (f'{BASE}members = ["sat", "phone"] # <-\nuplink = "1mbit"\ndownlink = "1mbit"\n',
     "cells.gnb1.members[1]", "unknown host `phone`"),
    (f'{BASE}members = ["sat", "sat"] # <-\nuplink = "1mbit"\ndownlink = "1mbit"\n',
     "cells.gnb1.members[1]", "`sat` is a member already"),
    (f'{BASE}members = ["edge"] # <-\nuplink = "1mbit"\ndownlink = "1mbit"\n',
     "cells.gnb1.members[0]", "is the cell's own host"),
    (f'{BASE}members = ["ed*"] # <-\nuplink = "1mbit"\ndownlink = "1mbit"\n',
     "cells.gnb1.members", "there are none but the cell's own host"),
    (f'{BASE}members = [] # <-\nuplink = "1mbit"\ndownlink = "1mbit"\n', "cells.gnb1.members",
     "must not be empty"),
    (f'{BASE}members = ["sat"]\nuplink = "0mbit" # <-\ndownlink = "1mbit"\n',
     "cells.gnb1.uplink", "must be above 0"),
    (f'{BASE}members = ["sat"]\nuplink = "fast" # <-\ndownlink = "1mbit"\n', "cells.gnb1.uplink",
     "is not"),
    (f'{TOP}[cells.gnb1] # <-\nhost = "edge"\nmembers = ["sat"]\nuplink = "1mbit"\n', "cells.gnb1",
     "missing key `downlink`"),
    (f'{BASE}rate = "1mbit" # <-\nmembers = ["sat"]\nuplink = "1mbit"\ndownlink = "1mbit"\n',
     "cells.gnb1.rate", "unknown key `rate`"),
    (f'{CELL}share = "fair" # <-\n', "cells.gnb1.share", "`fair` is not one of equal, weights"),
    (f'{CELL}share = "weights" # <-\n', "cells.gnb1.share", "needs `weights`"),
    (f'{CELL}weights = {{ "sat" = 2 }} # <-\n', "cells.gnb1.weights.sat", "is no member"),
    (f'{CELL}weights = {{ "client-9" = 2 }} # <-\n', "cells.gnb1.weights.client-9", "unknown host"),
    (f'{CELL}weights = {{ "client-1" = 0 }} # <-\n', "cells.gnb1.weights.client-1",
     "must be between 0.001 and 1000"),
    (f'{CELL}efficiency = 2 # <-\n', "cells.gnb1.efficiency", "must be a table, not an integer"),
    (f'{CELL}share = "equal"\nweights = {{ "client-1" = 2 }} # <-\n', "cells.gnb1.weights",
     "goes not together with share"),
    (f'{CELL}jitter = "1s" # <-\n', "cells.gnb1.jitter", "must not be above the delay"),
    (f'{CELL}profile = "7g" # <-\n', "cells.gnb1.profile", "unknown profile `7g`"),
    (f'{TOP}[[links]]\nname = "gnb1-sat"\nbetween = ["sat", "edge"]\n[cells.gnb1] # <-\n'
     'host = "edge"\nmembers = ["sat"]\nuplink = "1mbit"\ndownlink = "1mbit"\n', "cells.gnb1",
     "there are two links called `gnb1-sat`"),
    (f'{EVENT}set = {{ rate = "1mbit" }} # <-\n', "events[0].set.rate", "is of a link, not of a"),
    (f"{EVENT}set = {{ speed = 0.5 }} # <-\n", "events[0].set.speed", "is of hosts"),
    (f'{EVENT}set = {{ network = {{ in = "1mbit" }} }} # <-\n', "events[0].set.network",
     "is of hosts and modules"),
    (f'{CELL}[[events]]\nat = "1s"\nlink = "gnb1-client-1"\nset = {{ uplink = "1mbit" }} # <-\n',
     "events[0].set.uplink", "is of cells"),
    (f'{CELL}[[events]]\nat = "1s"\ncell = "gnb2" # <-\nreset = true\n', "events[0].cell",
     "unknown cell `gnb2`, did you mean `gnb1`?"),
    (f'{EVENT}set = {{ jitter = "1s" }} # <-\n', "events[0].set.jitter", "must not be above"),
    (f'{CELL}efficiency = {{ "client-1" = "none.txt" }} # <-\n', "cells.gnb1.efficiency.client-1",
     "No such file"),
    (f'{CELL}efficiency = {{ "client-1" = {{ generate = "handover" }} }} # <-\n',
     "cells.gnb1.efficiency.client-1", "has no rates"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "reason"), CASES)
def test_one_problem(one_problem, text, key, reason):
    one_problem(text, key, reason)


def test_an_unknown_host_and_both_targets(problems):
    (error,) = problems(CELL.replace('host = "edge"', 'host = "egde"'))
    assert (error.key, error.reason) == (
        "cells.gnb1.host",
        "unknown host `egde`, did you mean `edge`?",
    )
    (error,) = problems(f'{EVENT}link = "gnb1-client-1"\nreset = true\n')
    assert "`link` goes not with `cell`" in error.reason
