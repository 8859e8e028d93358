"""What is between machines is told of links of which nothing is asked, and of no others."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_ctl.certifying import BETWEEN, HERE, unshaped, whole


def row(name: str = "delay", measured: float | None = 0.0002) -> api.VerifyRow:
    return api.VerifyRow(
        link="lan", from_="a", to="b", property=name, asked=None, measured=measured, error=None,
        ok=True, low=0.0001, high=0.0003, n=100,
    )  # fmt: skip


def part(*links: api.LinkStatus) -> api.MeshStatus:
    return api.MeshStatus(
        mesh="m", state="ready", generation=1, settled=1, machines=(), hosts=(), modules=(),
        links=links, spec=api.MeshSpec(name="m", run="r"),
    )  # fmt: skip


def link(name: str, source: str, to: str, machine: str | None, **asked: float) -> api.LinkStatus:
    tunnel = None if machine is None else api.TunnelState(machine=machine)
    return api.LinkStatus(
        name=name, from_=source, to=to, driver="none", asked=asked, applied=None, tunnel=tunnel
    )


def test_only_what_leads_away_and_asks_nothing_is_the_real_network() -> None:
    parts = {
        "m1": part(
            link("lan", "a", "b", "m2"), link("radio", "a", "b", "m2", delay_s=0.02),
            link("inside", "a", "c", None),
        ),
        "m2": part(link("lan", "b", "a", "m1")),
    }  # fmt: skip
    assert unshaped(parts, None) == {
        ("lan", "a", "b"): ("m1", "m2"), ("lan", "b", "a"): ("m2", "m1"),
    }  # fmt: skip


def test_a_delay_is_told_with_what_is_between_and_followed_by_the_rate() -> None:
    delay, rate = whole(row(), api.Underlay(delay_s=0.005, rate_bps=2e7))
    assert (delay.measured, delay.low, delay.high) == pytest.approx((0.0052, 0.0051, 0.0053))
    assert (delay.asked, delay.ok, delay.n, delay.note) == (None, True, 100, BETWEEN)
    assert (rate.property, rate.measured, rate.low, rate.high) == ("rate", 2e7, None, None)
    early, _ = whole(row(measured=-0.0001), api.Underlay(delay_s=0.005, rate_bps=2e7))
    assert early.measured == 0.005, "what the machine itself takes can't be told apart from none"
    [alone] = whole(row(), api.Underlay(delay_s=0.005))
    assert alone == delay


def test_what_nobody_answers_for_is_said_to_be_this_machines_alone() -> None:
    [loss] = whole(row("loss"), api.Underlay(delay_s=0.005, rate_bps=2e7))
    assert (loss.measured, loss.note) == (0.0002, HERE)
    [delay] = whole(row(), None)
    assert (delay.measured, delay.note) == (0.0002, f"{HERE}: {BETWEEN} gave no answer")
    [none] = whole(row(measured=None), api.Underlay(delay_s=0.005))
    assert (none.measured, none.note) == (None, HERE)
