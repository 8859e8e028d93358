"""What every link driver that makes changes at their time keeps to; see link_contract.

A busy machine may be late, so that some changes are passed over; nothing comes early or twice.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import pytest
from helpers.link_bench import Bench, wait_until

from net.links.spec import LinkSpec
from otter_agent.links.planner import Later, Part, Planner, Played

NUMBERS = itertools.count(1)


def planner(bench: Bench) -> Planner:
    """Of the driver; it is one that has one."""
    found = bench.driver.planner()
    assert found is not None
    return found


def later(*specs: LinkSpec, in_s: float = 0.0, every_s: float = 0.05) -> tuple[Later, ...]:
    start = time.monotonic() + in_s
    return tuple(Later(next(NUMBERS), start + n * every_s, spec) for n, spec in enumerate(specs))


def played(bench: Bench, mesh: str, last: Later) -> list[int]:
    """Numbers of all changes that are told until one of them is: word of it comes after it."""
    numbers: list[int] = []

    def told() -> bool:
        numbers.extend(one.number for one in planner(bench).play(mesh, {})[1])
        return last.number in numbers

    wait_until(told)
    return numbers


@pytest.mark.netns
class LinkPlanning:
    """What is planned comes, when it is due."""

    def test_changes_come_in_order_and_at_their_time_or_later(self, bench: Bench):
        link = bench.make_link()
        specs = [LinkSpec(delay_s=0.01 * n) for n in range(1, 6)]
        plan = later(*specs, in_s=0.05)
        outcomes, played = planner(bench).play("mesh", {link.there: Part(LinkSpec(), plan)})
        assert outcomes[link.there].applied == LinkSpec()
        found: list[Played] = list(played)

        def last() -> bool:
            found.extend(planner(bench).play("mesh", {})[1])
            return bool(found) and found[-1].number == plan[-1].number

        wait_until(last)
        due = {one.number: one.at_s for one in plan}
        assert [one.number for one in found] == sorted({one.number for one in found})
        assert all(one.at_s >= due[one.number] and one.error is None for one in found)
        assert bench.read(link.there) == specs[-1]
        assert bench.read(link.back) == LinkSpec()

    def test_what_is_due_already_is_made_at_once_the_last_of_it(self, bench: Bench):
        link = bench.make_link()
        plan = later(LinkSpec(delay_s=0.1), LinkSpec(delay_s=0.2), in_s=-1.0)
        planner(bench).play("mesh", {link.there: Part(LinkSpec(), plan)})
        wait_until(lambda: bench.read(link.there) == LinkSpec(delay_s=0.2))

    def test_what_is_asked_now_takes_the_place_of_all_that_was_to_come(self, bench: Bench):
        for in_s in (0.3, 1.0, 5.0):  # a busy machine may not come to ask in time
            link, other = bench.make_link(), bench.make_link()
            soon = later(LinkSpec(delay_s=0.1), in_s=in_s)
            end = later(LinkSpec(delay_s=0.3), in_s=in_s + 0.1)
            planner(bench).play("mesh", {link.there: Part(LinkSpec(), soon)})
            planner(bench).play("mesh", {link.there: Part(LinkSpec(loss_ratio=0.5))})
            if time.monotonic() < soon[0].at_s:
                break
        planner(bench).play("mesh", {other.there: Part(LinkSpec(), end)})
        wait_until(lambda: bench.read(other.there) == LinkSpec(delay_s=0.3))
        assert bench.read(link.there) == LinkSpec(loss_ratio=0.5)
        came = played(bench, "mesh", end[0])
        assert soon[0].number not in came

    def test_a_mesh_is_told_of_its_own(self, bench: Bench):
        link, other = bench.make_link("mesh"), bench.make_link("other")
        one, two = later(LinkSpec(delay_s=0.1)), later(LinkSpec(delay_s=0.2))
        planner(bench).play("mesh", {link.there: Part(LinkSpec(), one)})
        planner(bench).play("other", {other.there: Part(LinkSpec(), two)})
        wait_until(lambda: bench.read(link.there) == LinkSpec(delay_s=0.1))
        wait_until(lambda: bench.read(other.there) == LinkSpec(delay_s=0.2))
        assert played(bench, "other", two[0]) == [two[0].number]
        assert played(bench, "mesh", one[0]) == [one[0].number]
        assert planner(bench).play("mesh", {})[1] == []

    def test_what_can_t_be_made_is_told(self, bench: Bench):
        link = bench.make_link()
        planner(bench).play("mesh", {link.there: Part(LinkSpec())})
        nowhere = replace(link.there, device="none")
        plan = later(LinkSpec(delay_s=0.1))
        found: list[Played] = planner(bench).play("mesh", {nowhere: Part(None, plan)})[1]

        def told() -> bool:
            found.extend(planner(bench).play("mesh", {})[1])
            return bool(found)

        wait_until(told)
        (only,) = found
        assert only.number == plan[0].number
        assert only.error is not None
