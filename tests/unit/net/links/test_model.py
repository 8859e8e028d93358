"""The model of one direction: exact in time, and the same however often one looks."""

import statistics
import tracemalloc
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.links.chance import chances
from net.links.model import KEEPING_BYTES, NEVER, Model
from net.links.spec import LinkSpec

Step = tuple[float, object]


def packet(number: int, size: int = 100) -> bytes:
    return number.to_bytes(4, "big") + bytes(size - 4)


def run(spec: LinkSpec, offers: list[tuple[float, bytes]], seed: int = 1, **options):
    """What arrives, as (time, number), with everything offered and all time passed."""
    model = Model(spec, chances(seed, "link"), **options)
    for at, one in offers:
        model.offer([one], at)
    return model, numbered(model.take(1e9))


def numbered(arrived: list[tuple[float, bytes]]) -> list[tuple[float, int]]:
    return [(at, int.from_bytes(one[:4], "big")) for at, one in arrived]


def every(gap_s: float, count: int, size: int = 100) -> list[tuple[float, bytes]]:
    return [(number * gap_s, packet(number, size)) for number in range(count)]


def test_without_properties_all_arrive_at_once():
    model, arrived = run(LinkSpec(), every(0.5, 4))
    assert arrived == [(0.0, 0), (0.5, 1), (1.0, 2), (1.5, 3)]
    assert (model.tally.packets, model.tally.bytes, model.waiting_packets) == (4, 400, 0)


def test_a_delay_is_exact():
    assert run(LinkSpec(delay_s=0.25), every(0.5, 3))[1] == [(0.25, 0), (0.75, 1), (1.25, 2)]


def test_the_rate_counts_ip_bytes_and_overhead_and_precedes_the_delay():
    spec = LinkSpec(rate_bps=8000, overhead_bytes=25, delay_s=10.0, queue_packets=9)
    assert run(spec, every(0.0, 3))[1] == [(10.125, 0), (10.25, 1), (10.375, 2)]


def test_bytes_before_the_packet_are_not_counted():
    model, arrived = run(LinkSpec(rate_bps=8000), every(0.0, 1, size=110), start=10)
    assert arrived[0][0] == pytest.approx(0.1)
    assert model.tally.bytes == 100


@pytest.mark.parametrize(
    "queue", [{"queue_packets": 2}, {"queue_bytes": 299}, {"queue_bytes": 200}]
)
def test_what_finds_the_queue_full_is_dropped(queue):
    model, arrived = run(LinkSpec(rate_bps=8000, **queue), every(0.0, 10))
    assert [number for _, number in arrived] == [0, 1, 2]  # one is sent, two wait
    assert model.tally.dropped == {"queue": 7}
    assert model.waiting_bytes == 0


def test_a_queue_in_time_is_a_bound_of_the_wait():
    spec = LinkSpec(rate_bps=80_000, queue_s=0.3)
    _, arrived = run(spec, every(0.0, 100, size=500))
    assert [number for _, number in arrived] == list(range(7))
    assert arrived[-1][0] == pytest.approx(0.35)


def test_an_idle_link_takes_a_packet_larger_than_its_queue():
    assert len(run(LinkSpec(rate_bps=8000, queue_bytes=10), every(1.0, 3))[1]) == 3


def test_down_loses_all_and_keeps_what_is_under_way():
    model = Model(LinkSpec(delay_s=1.0), chances(1))
    model.offer([packet(0)], 0.0)
    model.change(LinkSpec(delay_s=1.0, up=False), 0.5)
    model.offer([packet(1)], 0.5)
    assert numbered(model.take(9.0)) == [(1.0, 0)]
    assert model.tally.dropped == {"down": 1}


def test_duplicates_come_one_after_the_other():
    model, arrived = run(LinkSpec(duplicate_ratio=1.0), every(0.1, 2))
    assert [number for _, number in arrived] == [0, 0, 1, 1]
    assert model.tally.duplicated == 2


def test_a_corrupt_packet_differs_by_a_bit():
    model = Model(LinkSpec(corrupt_ratio=1.0), chances(1))
    model.offer([bytes(100)] * 50, 0.0)
    arrived = model.take(0.0)
    assert {int.from_bytes(one, "big").bit_count() for _, one in arrived} == {1}
    assert len({one for _, one in arrived}) > 30
    assert model.tally.corrupted == 50


def test_overtakers_arrive_at_once_and_the_others_in_order():
    _, arrived = run(LinkSpec(delay_s=1.0, reorder_ratio=0.4), every(0.01, 500))
    assert len(arrived) == 500
    assert [at for at, _ in arrived] == sorted(at for at, _ in arrived)
    quick = [number for at, number in arrived if at == pytest.approx(number * 0.01, abs=1e-9)]
    slow = [number for at, number in arrived if at == pytest.approx(1 + number * 0.01, abs=1e-9)]
    assert len(quick) + len(slow) == 500
    assert quick == sorted(quick)
    assert slow == sorted(slow)
    assert len(quick) == pytest.approx(200, abs=40)


@pytest.mark.slow
def test_jitter_spreads_and_never_reorders():
    spec = LinkSpec(delay_s=1.0, jitter_s=0.1)
    _, far = run(spec, every(2.0, 4000))
    delays = [at - 2.0 * number for at, number in far]
    assert statistics.fmean(delays) == pytest.approx(1.0, abs=0.005)
    assert statistics.pstdev(delays) == pytest.approx(0.1, rel=0.03)
    _, near = run(spec, every(0.001, 4000))
    assert [number for _, number in near] == list(range(4000))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gap_s", "median_s", "deviation_s"),
    [(0.02, 0.0200, 0.0020), (0.001, 0.0209, 0.0015), (0.0005, 0.0216, 0.0013),
     (0.0001, 0.0230, 0.0011)],
)  # fmt: skip
def test_packets_that_are_denser_than_the_jitter_wait_for_each_other(gap_s, median_s, deviation_s):
    """What docs/links.md says of 20 ms and 2 ms."""
    _, arrived = run(LinkSpec(delay_s=0.02, jitter_s=0.002), every(gap_s, 20_000))
    delays = [at - gap_s * number for at, number in arrived]
    assert statistics.median(delays) == pytest.approx(median_s, abs=0.00015)
    assert statistics.pstdev(delays) == pytest.approx(deviation_s, abs=0.00012)


def test_delays_are_never_below_zero():
    spec = LinkSpec(delay_s=0.01, jitter_s=0.01)
    _, arrived = run(spec, every(1.0, 1000))
    assert min(at - number for at, number in arrived) >= 0


def test_packets_leave_in_slots_of_a_size():
    spec = LinkSpec(slot_s=(1.0, 1.0), slot_bytes=250)
    _, arrived = run(spec, [(0.5, packet(n)) for n in range(7)])
    assert arrived == [(1.0, 0), (1.0, 1), (1.0, 2), (2.0, 3), (2.0, 4), (2.0, 5), (3.0, 6)]


def test_slots_come_whether_or_not_anything_waits():
    model = Model(LinkSpec(slot_s=(0.01, 0.01)), chances(1))
    model.offer([packet(0)], 3600.005)
    ((at, _),) = model.take(3700.0)
    assert at == pytest.approx(3600.01, abs=1e-6)


@pytest.mark.slow
def test_slots_differ_in_length_as_asked():
    spec = LinkSpec(slot_s=(0.01, 0.03))
    _, arrived = run(spec, every(0.0005, 20_000))
    times = sorted({at for at, _ in arrived})
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) > 0.0099
    assert max(gaps) < 0.0301
    assert statistics.fmean(gaps) == pytest.approx(0.02, rel=0.05)


def test_a_direction_holds_no_more_than_its_room():
    room = 10 * (100 + KEEPING_BYTES)
    model, arrived = run(LinkSpec(delay_s=10.0), every(0.001, 50), room_bytes=room)
    assert len(arrived) == 10
    assert model.tally.dropped == {"room": 40}


@pytest.mark.slow
def test_what_it_says_a_packet_takes_is_what_it_takes_of_memory():
    model = Model(LinkSpec(delay_s=10.0), chances(1))
    count = 20_000
    tracemalloc.start()
    try:
        for number in range(count):
            model.offer([packet(number, 28)], number * 1e-6)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert model.waiting_packets == count
    assert taken <= model.held_bytes <= 2 * taken


# --- changes -------------------------------------------------------------------------------------


def test_a_rate_that_changes_goes_on_with_the_packet_being_sent():
    model = Model(LinkSpec(rate_bps=800, queue_packets=10), chances(1))
    model.offer([packet(0), packet(1)], 0.0)  # a second each
    model.change(LinkSpec(rate_bps=1600, queue_packets=10), 0.5)
    assert numbered(model.take(9.0)) == [(0.75, 0), (1.25, 1)]


def test_a_rate_next_to_nothing_holds_nothing_for_ever():
    model = Model(LinkSpec(rate_bps=1e-320, queue_packets=10), chances(1))
    model.offer([packet(0), packet(1)], 0.0)
    model.change(LinkSpec(rate_bps=1600, queue_packets=10), 0.5)
    assert numbered(model.take(9.0)) == [(1.0, 0), (1.5, 1)]


def test_without_a_rate_all_that_waits_leaves():
    model = Model(LinkSpec(rate_bps=800, queue_packets=10), chances(1))
    model.offer([packet(n) for n in range(5)], 0.0)
    model.change(LinkSpec(delay_s=1.0), 0.5)
    assert numbered(model.take(9.0)) == [(1.5, n) for n in range(5)]


def test_a_queue_that_shrinks_keeps_what_waits():
    model = Model(LinkSpec(rate_bps=800, queue_packets=10), chances(1))
    model.offer([packet(n) for n in range(8)], 0.0)
    model.change(LinkSpec(rate_bps=800, queue_packets=1), 0.5)
    assert len(model.take(99.0)) == 8


def test_what_is_under_way_arrives_within_a_delay_that_falls():
    model = Model(LinkSpec(delay_s=3600.0), chances(1))
    model.offer([packet(0)], 0.0)
    model.change(LinkSpec(delay_s=0.25), 1.0)
    model.offer([packet(1)], 1.5)
    assert numbered(model.take(9.0)) == [(1.25, 0), (1.75, 1)]


def test_slots_that_are_taken_away_let_all_go():
    model = Model(LinkSpec(slot_s=(100.0, 100.0)), chances(1))
    model.offer([packet(n) for n in range(3)], 1.0)
    model.change(LinkSpec(), 2.0)
    assert numbered(model.take(2.0)) == [(2.0, n) for n in range(3)]


def test_asking_for_jitter_changes_nothing_about_what_is_lost():
    lost = LinkSpec(loss_ratio=0.3)
    shaky = replace(lost, delay_s=0.1, jitter_s=0.05, corrupt_ratio=0.0, reorder_ratio=0.1)
    runs = [sorted(n for _, n in run(spec, every(0.01, 500))[1]) for spec in (lost, shaky)]
    assert runs[0] == runs[1]


# --- active queue management ---------------------------------------------------------------------


def ecn(one: bytes) -> bytes:
    return bytes([0x45, 0x02]) + one[2:20] + one[:4] + one[24:]


@pytest.mark.parametrize("discipline", ["codel", "red"])
def test_managed_queues_stay_shorter_than_those_that_fill(discipline):
    """Twice what the link carries, for ten seconds."""
    spec = LinkSpec(rate_bps=1e6, queue_packets=1300)
    offers = every(0.004, 2500, size=1000)
    tail, managed = (
        run(replace(spec, queue_discipline=name), offers) for name in ("tail", discipline)
    )
    assert not tail[0].tally.dropped
    assert managed[0].tally.dropped["aqm"] > 100
    waits = [[at - number * 0.004 for at, number in out] for _, out in (tail, managed)]
    assert max(waits[1]) < max(waits[0])


def test_codel_drops_nothing_below_its_target():
    spec = LinkSpec(rate_bps=1e6, queue_discipline="codel")
    model, arrived = run(spec, every(0.01, 2000, size=1000))
    assert len(arrived) == 2000
    assert not model.tally.dropped


@pytest.mark.parametrize("discipline", ["codel", "red"])
def test_what_can_be_marked_is_marked_instead(discipline):
    spec = LinkSpec(rate_bps=1e6, queue_packets=600, queue_discipline=discipline, ecn=True)
    offers = [(at, ecn(one)) for at, one in every(0.004, 1000, size=1000)]
    model, arrived = run(spec, offers)
    assert len(arrived) == 1000
    assert model.tally.marked > 10
    assert not model.tally.dropped
    plain, _ = run(spec, every(0.004, 1000, size=1000))
    assert plain.tally.dropped["aqm"] > 10
    assert not plain.tally.marked


# --- purity --------------------------------------------------------------------------------------

ratios = st.one_of(st.none(), st.floats(0, 1))
delays = st.one_of(st.none(), st.floats(0.001, 0.5))


@st.composite
def specs(draw) -> LinkSpec:
    delay_s = draw(delays)
    jitters = st.one_of(st.none(), st.floats(0, delay_s or 0))
    rate = draw(st.one_of(st.none(), st.floats(1e4, 1e8)))
    discipline = draw(st.sampled_from([None, "tail", "codel", "red"]))
    spec = LinkSpec(
        delay_s=delay_s,
        jitter_s=draw(jitters) if delay_s else None,
        loss_ratio=draw(ratios),
        duplicate_ratio=draw(ratios),
        corrupt_ratio=draw(ratios),
        reorder_ratio=draw(ratios) if delay_s else None,
        rate_bps=rate,
        overhead_bytes=draw(st.sampled_from([None, -1000, 38])),
        queue_packets=draw(st.one_of(st.none(), st.integers(1, 20))),
        queue_discipline=discipline,
        ecn=draw(st.booleans()) if discipline in ("codel", "red") else None,
        slot_s=draw(st.sampled_from([None, (0.001, 0.001), (0.01, 0.05)])),
        slot_bytes=None,
        up=draw(st.sampled_from([None, None, None, False])),
    )
    assert not spec.problems()
    return spec


@st.composite
def histories(draw) -> list[Step]:
    """Packets and changes at times that never go back."""
    now, steps = 0.0, []
    for number in range(draw(st.integers(1, 30))):
        now += draw(st.sampled_from([0.0, 0.0001, 0.003, 0.2]))
        if draw(st.integers(0, 5)) == 0:
            steps.append((now, draw(specs())))
        else:
            steps.append((now, packet(number, draw(st.integers(24, 1500)))))
    return steps


def replay(spec: LinkSpec, steps: list[Step], looks: list[float]) -> tuple[Model, list]:
    model, out = Model(spec, chances(3, "x")), []
    todo = sorted([*((at, 1, what) for at, what in steps), *((at, 0, None) for at in looks)],
                  key=lambda entry: entry[:2])  # fmt: skip
    for at, _, what in todo:
        if what is None:
            out += model.take(at)
        elif isinstance(what, LinkSpec):
            model.change(what, at)
        else:
            model.offer([what], at)
    return model, out + model.take(1e9)


@pytest.mark.slow
@settings(max_examples=150)
@given(spec=specs(), steps=histories(), looks=st.lists(st.floats(0, 10), max_size=20))
def test_what_arrives_does_not_depend_on_when_one_looks(spec, steps, looks):
    once, alone = replay(spec, steps, [])
    often, watched = replay(spec, steps, looks)
    assert watched == alone
    assert often.tally == once.tally


@pytest.mark.slow
@settings(max_examples=150)
@given(spec=specs(), steps=histories())
def test_every_packet_is_accounted_for(spec, steps):
    model, out = replay(spec, steps, [])
    offered = sum(not isinstance(what, LinkSpec) for _, what in steps)
    tally = model.tally
    assert tally.packets == len(out)
    assert offered + tally.duplicated == tally.packets + sum(tally.dropped.values())
    assert (model.waiting_packets, model.waiting_bytes) == (0, 0)
    assert model.next_s == NEVER
    assert [at for at, _ in out] == sorted(at for at, _ in out)


@pytest.mark.slow
@settings(max_examples=100)
@given(spec=specs(), steps=histories())
def test_one_who_looks_only_when_told_to_is_never_late(spec, steps):
    """`next_s` is no later than the next arrival."""
    model = Model(spec, chances(3, "x"))
    last = 0.0
    for at, what in [*steps, (1e9, None)]:
        while (due := model.next_s) <= at:
            now = max(due, last)
            for arrived, _packet in model.take(now):
                assert arrived == pytest.approx(now, abs=1e-9)
            last = now
        last = at
        if isinstance(what, LinkSpec):
            model.change(what, at)
        elif what is not None:
            model.offer([what], at)


@pytest.mark.slow
@settings(max_examples=100)
@given(steps=histories(), delay_s=st.floats(0, 1))
def test_without_loss_or_overtaking_all_arrive_once_and_in_order(steps, delay_s):
    changes = [
        (at, LinkSpec(delay_s=what.delay_s, rate_bps=what.rate_bps, slot_s=what.slot_s,
                      queue_packets=1000, jitter_s=what.jitter_s))
        if isinstance(what, LinkSpec) else (at, what)
        for at, what in steps
    ]  # fmt: skip
    _, out = replay(LinkSpec(delay_s=delay_s), changes, [])
    sent = [what for _, what in steps if not isinstance(what, LinkSpec)]
    assert [one for _, one in out] == sent
