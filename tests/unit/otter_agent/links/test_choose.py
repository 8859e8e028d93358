"""Which driver a mesh gets: the machine's, but for cells that it can't do."""

from __future__ import annotations

from net.links.spec import LinkSpec
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks

SHARED = LinkSpec(rate_bps=1e6, medium="gnb1")
PLAIN = LinkSpec(rate_bps=1e6, jitter_s=0.1, delay_s=1.0)


def kernel(*refused: str) -> FakeLinks:
    return FakeLinks(refuses=dict.fromkeys(refused, "the kernel can't"))


def test_a_mesh_with_cells_gets_the_driver_that_can() -> None:
    spare = Choice(driver=FakeLinks())
    choice = Choice(driver=kernel("medium"), spare=spare)
    assert choice.fit_for([PLAIN, SHARED]) is spare
    assert choice.fit_for([PLAIN, LinkSpec()]) is choice
    assert choice.fit_for([]) is choice


def test_who_can_do_it_does_it() -> None:
    able = Choice(driver=kernel("jitter_s"), spare=Choice(driver=FakeLinks()))
    assert able.fit_for([PLAIN, SHARED]) is able  # another property is no reason to change


def test_where_none_can_it_stays_refused() -> None:
    for spare in (None, Choice(driver=kernel("medium"))):
        choice = Choice(driver=kernel("medium"), spare=spare)
        assert choice.fit_for([SHARED]) is choice
        assert "medium" in choice.refusals(SHARED)
    nothing = Choice(why="no TUN")
    assert nothing.fit_for([SHARED]) is nothing
