"""`plan` says beforehand what a machine won't carry in user space, and what to change."""

from __future__ import annotations

import pytest

from otter_ctl.planning.capacity import PACKET_BYTES, Curve, curve, too_much

TOP = 'name = "big"\n[hosts.a]\n[hosts.b]\n[hosts.c]\n'
MOST_BPS = curve().at(1) * PACKET_BYTES * 8


def link(name: str, rate_bps: float, more: str = "") -> str:
    return f'[[links]]\nname = "{name}"\nfrom = "a"\nto = "b"\nrate = "{rate_bps:.0f}bit"\n{more}\n'


def warnings(read, text: str, driver: str = "tun", cores: int = 8) -> list[str]:
    return list(too_much(read(TOP + text), driver, cores))


def test_what_one_core_carries_is_not_warned_of(read):
    assert warnings(read, link("radio", MOST_BPS * 0.9)) == []
    assert warnings(read, '[[links]]\nbetween = ["a", "b"]\ndelay = "5ms"\n') == []


def test_more_is_with_what_to_change(read):
    found = warnings(read, link("small", 1e6) + link("radio", MOST_BPS * 2))
    assert len(found) == 1
    assert "link radio" in found[0]
    assert "lower the rates" in found[0]
    assert f"{MOST_BPS * 2 / 8 / PACKET_BYTES:,.0f}"[:5] in found[0]
    assert warnings(read, link("radio", MOST_BPS * 2), driver="netem") == []
    assert "no other for its modules" in warnings(read, link("radio", MOST_BPS * 2), cores=1)[0]


def test_both_directions_count(read):
    both = link("radio", MOST_BPS * 0.6).replace('from = "a"\nto = "b"', 'between = ["a", "b"]')
    assert warnings(read, both)


def test_what_events_and_traces_ask_for_later_counts(read, folder):
    event = f'[[events]]\nat = "5s"\nlink = "radio"\nset = {{ rate = "{MOST_BPS * 2:.0f}bit" }}\n'
    assert warnings(read, link("radio", 1e6) + event)
    (folder / "fast.txt").write_text(f"0 1\n5 {MOST_BPS * 2 / 1e6}\n")
    assert warnings(read, link("radio", 1e6, 'trace = "fast.txt"'))
    half = 'trace = { file = "fast.txt", scale = 0.1 }'
    assert warnings(read, link("radio", 1e6, half)) == []
    drawn = f'trace = {{ generate = "markov", rates = ["1mbit", "{MOST_BPS * 2:.0f}bit"] }}'
    assert warnings(read, link("radio", 1e6, drawn))


def cell(rate_bps: float, more: str = "") -> str:
    return (
        f'[cells.gnb1]\nhost = "a"\nmembers = ["b", "c"]\nuplink = "{rate_bps:.0f}bit"\n'
        f'downlink = "{rate_bps:.0f}bit"\n{more}\n'
    )


def test_members_of_a_cell_share_its_capacity(read):
    assert warnings(read, cell(MOST_BPS * 0.4)) == []
    assert "cell gnb1" in warnings(read, cell(MOST_BPS))[0]


@pytest.mark.parametrize(
    "uneven",
    [
        'efficiency = { "b" = 0.5 }',
        'efficiency = { "*" = { generate = "random-walk", rates = ["1mbit", "2mbit"] } }',
        '[[events]]\nat = "1s"\nlink = "gnb1-b"\nset = { rate = "1mbit" }',
    ],
)
def test_the_kernel_carries_cells_but_those_whose_members_rates_differ(read, uneven):
    often = '[[events]]\nat = "1s"\ncell = "gnb1"\nset = { uplink = "1mbit", delay = "9ms" }'
    assert warnings(read, cell(MOST_BPS, often), driver="netem") == []
    (warned,) = warnings(read, cell(MOST_BPS, uneven), driver="netem")
    assert "(driver tun)" in warned
    assert "give a cell's members one efficiency" in warned
    assert "sch_netem" not in warned


def test_members_that_all_play_one_trace_are_shared_by_the_kernel(read, folder):
    (folder / "walk.txt").write_text("0 1\n5 0.5\n")
    for members, found in (("*", 0), ("b", 1)):
        played = f'efficiency = {{ "{members}" = {{ file = "walk.txt" }} }}'
        assert len(warnings(read, cell(MOST_BPS, played), driver="netem")) == found


def test_the_curve_is_read_between_its_points():
    one = Curve("x", (1, 10, 100), (100.0, 50.0, 20.0))
    assert [one.at(n) for n in (0, 1, 10, 100, 5000)] == [100, 100, 50, 20, 20]
    assert one.at(3) == pytest.approx(100 - 50 * 0.4771, abs=0.01)


def test_the_measured_curve_makes_sense():
    known = curve()
    assert list(known.links) == sorted(known.links)
    assert len(known.links) == len(known.packets_per_s) > 1
    assert min(known.packets_per_s) > 1000
