"""What changed while it was measured isn't judged; a machine that was too slow is told."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_agent.verify.telling import CHANGED, told


def status(asked=None, overrun=None):
    counters = None if overrun is None else api.LinkCounters(dropped={"overrun": overrun})
    link = api.LinkStatus(
        name="radio", from_="a", to="b", driver="tun", asked=asked or {"delay_s": 0.02},
        applied=None, counters=counters,
    )  # fmt: skip
    return api.MeshStatus(
        mesh="m", state="ready", generation=1, settled=1, machines=(), hosts=(), modules=(),
        links=(link,), spec=api.MeshSpec(name="m", run="r"),
    )  # fmt: skip


def row(source="a", *, ok=False, note=""):
    return api.VerifyRow(
        link="radio", from_=source, to="b", property="loss", asked=0.0, measured=0.2, error=0.2,
        ok=ok, note=note,
    )  # fmt: skip


def after(rows, before, now):
    return told(api.VerifyLine(rows=rows), before, now).rows


def test_what_stayed_is_told_as_it_is():
    rows = (row(), row("c", ok=True))
    assert after(rows, status(), status()) == rows


def test_what_changed_is_not_judged():
    changed, other = after((row(), row("c")), status(), status({"delay_s": 0.03}))
    assert (changed.asked, changed.error, changed.ok, changed.note) == (None, None, True, CHANGED)
    assert changed.measured == 0.2
    assert other == row("c")


@pytest.mark.parametrize(("before", "now"), [(0, 7), (3, 10), (None, 7)])
def test_a_machine_that_was_too_slow_is_told_where_something_is_wrong(before, now):
    wrong, right = after(
        (row(note="measured twice"), row(ok=True)), status(overrun=before), status(overrun=now)
    )
    assert wrong.note == "measured twice; this machine was too slow for 7 packets"
    assert not wrong.ok
    assert right.note == ""


def test_what_it_was_too_slow_for_before_counts_no_more():
    [same] = after((row(),), status(overrun=7), status(overrun=7))
    assert same.note == ""
