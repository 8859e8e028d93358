"""What is between machines is told of links of which nothing is asked, and of no others."""

from __future__ import annotations

import pytest

from net.links.spec import LinkSpec
from otter_agent import api
from otter_ctl.certifying import BETWEEN, HERE, beside, on_top, unshaped, whole
from otter_ctl.cli.plan import tunnel_line


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


def link(
    name: str, source: str, to: str, machine: str | None, less_s: float = 0.0, **asked: float
) -> api.LinkStatus:
    tunnel = None if machine is None else api.TunnelState(machine=machine, less_s=less_s)
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


def test_what_is_on_top_of_the_network_is_known() -> None:
    parts = {
        "m1": part(
            link("lan", "a", "b", "m2"), link("inside", "a", "c", None, delay_s=0.02),
            link("radio", "a", "b", "m2", delay_s=0.02),
            link("exact", "a", "b", "m2", less_s=0.005, delay_s=0.02),
        ),
    }  # fmt: skip
    assert {key: way[0] for key, way in on_top(parts, None).items()} == {("radio", "a", "b"): "m1"}


def test_a_delay_on_top_of_the_network_names_what_that_takes() -> None:
    tunnel = api.TunnelState(machine="gpu-box", underlay=api.Underlay(delay_s=0.005))
    told = beside(row(), ("lab1", tunnel))
    assert told.note == (
        "and 5 ms of the network between lab1 and gpu-box beside it "
        "(subtract_underlay takes it off)"
    )
    document = api.to_builtins(told)
    assert document.pop("beside_s") == 0.005
    assert document.pop("note") == told.note
    assert document == {k: v for k, v in api.to_builtins(row()).items() if k != "note"}
    blind = beside(row(), ("lab1", api.TunnelState(machine="gpu-box")))
    assert blind.note.endswith("between lab1 and gpu-box beside it, which was not measured")
    assert api.to_builtins(blind)["beside_s"] is None


def test_nothing_else_tells_of_the_network() -> None:
    tunnel = api.TunnelState(machine="gpu-box", underlay=api.Underlay(delay_s=0.005))
    for other in (row("loss"), row(measured=None)):
        assert beside(other, ("lab1", tunnel)) is other
    assert (same := row()) is beside(same, None)


def test_a_plan_says_what_comes_on_top_of_a_link() -> None:
    way = api.Tunnel(
        host="b", local="10.0.0.1", remote="10.0.0.2", vni=1, key="k", why="no VXLAN",
        underlay=api.Underlay(delay_s=0.005),
    )  # fmt: skip
    scarce = api.Link(name="radio", a="a", b="b", forward=LinkSpec(delay_s=0.02))
    assert tunnel_line(scarce, "lab1", way) == (
        "  link radio leaves lab1 by vxlan, 5ms; the network's delay comes on top of the link's "
        "(subtract_underlay takes it off): no VXLAN"
    )
    for other in (
        api.Link(name="radio", a="a", b="b", forward=LinkSpec(delay_s=0.02), subtract=True),
        api.Link(name="radio", a="a", b="b", forward=LinkSpec()),
    ):
        assert tunnel_line(other, "lab1", way) == "  link radio leaves lab1 by vxlan, 5ms: no VXLAN"
