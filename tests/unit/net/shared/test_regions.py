"""The sender's memory: who holds what, growth and its bound, arrays that are filled in place."""

from __future__ import annotations

import itertools
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from net.errors import RemoteWireError
from net.messages import Parcel
from net.shared.outgoing import INLINE_BYTES, Outgoing
from net.shared.regions import Regions
from net.shared.unsettled import Unsettled
from net.short import Way
from net.stats import EdgeStats
from net.values import pack

MIB = 2**20


def outgoing(bound=4 * MIB):
    way = Way("", 0, iter(()), float, Unsettled(kept=True), EdgeStats("s", "shm"), True, 0.0, b"")
    return Outgoing(Regions(bound), lambda: 5.0, way)


def parcel(value):
    return Parcel(pack(value), run=1, number=1, made=1.0)


def place(out, value, **options):
    return out.place(parcel(value), None, 2**30, **options)


def bytes_at(slot, nbytes):
    return slot.region.memory[slot.at : slot.at + nbytes]


@pytest.fixture
def descriptors():
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    yield count
    assert count() == before


def test_small_messages_need_no_memory():
    out = outgoing()
    assert place(out, np.zeros(INLINE_BYTES - 1, "u1")).slot is None
    assert out.regions.total_bytes == 0
    assert place(out, np.zeros(INLINE_BYTES, "u1")).slot is not None
    out.close()


def test_a_slot_is_free_when_both_the_stream_and_the_receiver_are_done_with_it():
    for first in ("ack", "release"):
        out = outgoing()
        entry = place(out, np.zeros(MIB, "u1"))
        slot = entry.slot
        out.lend(slot)
        steps = {"ack": lambda o=out, e=entry: o.settle(e),
                 "release": lambda o=out, s=slot: o.given_back(s.place)}  # fmt: skip
        steps.pop(first)()
        assert not slot.region.slots.empty
        steps.popitem()[1]()
        assert slot.region.slots.empty
        with pytest.raises(RemoteWireError):
            out.given_back(slot.place)
        out.close()


def test_it_waits_for_what_the_receiver_has_not_taken_and_only_for_that():
    out = outgoing(bound=2 * MIB)
    big = np.zeros(MIB + 1, "u1")
    entry = place(out, big)
    out.lend(entry.slot)
    assert place(out, big) is None  # it will be free once it is taken, done, dropped
    out.taken = entry.seq
    assert place(out, big).slot is None  # who knows when: it goes through the socket
    assert place(out, big, wait=False).slot is None
    assert place(out, np.zeros(5 * MIB, "u1")).slot is None
    out.close()


@pytest.mark.slow
def test_memory_grows_by_regions_up_to_its_bound(descriptors):
    out = outgoing(bound=100 * MIB)
    entries = [place(out, np.zeros(30 * MIB, "u1")) for _ in range(3)]
    regions = {entry.slot.region.number: entry.slot.region.size for entry in entries}
    assert regions == {1: 64 * MIB, 2: 36 * MIB}
    for entry in entries:
        out.settle(entry)
    assert place(out, np.zeros(90 * MIB, "u1")).slot.region.size == 90 * MIB + 4096
    assert sorted(out.regions.forgotten) == [1, 2]
    out.close()


@pytest.mark.slow
@given(st.lists(st.integers(1, 3 * MIB) | st.just(0), max_size=30), st.randoms())
@settings(max_examples=50)
def test_memory_is_bounded_and_no_two_slots_overlap(plan, random):
    regions, held = Regions(4 * MIB), []
    for step in plan:
        if step:
            slot = regions.take(step)
            if slot is not None:
                held.append(slot)
        elif held:
            regions.drop(held.pop(random.randrange(len(held))))
        assert regions.total_bytes <= 4 * MIB
        spans = sorted((s.region.number, s.start, s.start + s.nbytes) for s in held)
        for a, b in itertools.pairwise(spans):
            assert a[0] != b[0] or a[2] <= b[1]
    for slot in held:
        regions.drop(slot)
    assert regions.take(4 * MIB) is not None
    regions.close()


def test_an_array_filled_in_place_is_sent_from_there():
    out = outgoing()
    array = out.regions.empty((100, 1000), np.dtype("f4"))
    array[:] = 7
    entry = place(out, array)
    memory = np.frombuffer(entry.slot.region.memory, "f4", 100_000,
                           entry.slot.start + 4096)  # fmt: skip
    assert np.shares_memory(memory, array)
    assert bytes_at(entry.slot, 4) == b"OTTR"
    with pytest.raises(ValueError):
        array[0] = 1  # it is the receiver's now
    out.close()


def test_the_same_array_sent_twice_is_copied_the_second_time():
    out = outgoing()
    array = out.regions.empty((50_000,), np.dtype("u1"))
    first, second = place(out, array), place(out, array)
    assert first.slot.start != second.slot.start
    out.close()


def test_a_part_of_such_an_array_is_sent_in_place_only_from_its_start():
    out = outgoing()
    array = out.regions.empty((100_000,), np.dtype("u1"))
    array[:] = np.arange(100_000) % 251
    tail = place(out, array[40_000:])
    assert bytes_at(tail.slot, tail.size)[-60_000:] == array[40_000:].tobytes()
    assert tail.slot.start != 0
    head = place(out, {"a": array[:50_000]})
    assert head.slot.start == 0
    out.close()


def test_an_array_that_is_never_sent_frees_its_slot_from_any_thread():
    calls = []
    regions = Regions(4 * MIB, lambda: calls.append(1))
    kept = [regions.empty((3 * MIB,), np.dtype("u1"))]
    assert regions.take(2 * MIB) is None
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    assert calls == [1]
    assert regions.take(3 * MIB) is not None
    regions.close()


def test_the_senders_own_array_keeps_its_slot_from_being_used_again():
    out = outgoing(bound=2 * MIB)
    array = out.regions.empty((MIB + 1,), np.dtype("u1"))
    entry = place(out, array)
    slot = entry.slot
    out.lend(slot)
    out.settle(entry)
    out.given_back(slot.place)
    assert out.regions.empty((MIB,), np.dtype("u1")) is None
    del array
    assert out.regions.empty((MIB,), np.dtype("u1")) is not None
    out.close()


@pytest.mark.slow
def test_after_a_cut_nothing_new_goes_where_the_receivers_arrays_look(descriptors):
    out = outgoing(bound=8 * MIB)
    seen = place(out, np.full(MIB, 1, "u1"))
    waits = place(out, np.full(MIB, 2, "u1"))
    out.lend(seen.slot)
    out.settle(seen)
    out.regions.bound_bytes = 16 * MIB
    out.cut_off()
    after = place(out, np.full(MIB, 3, "u1"))
    assert after.slot.region is not waits.slot.region
    assert bytes_at(waits.slot, waits.size)[-1] == 2  # it can be sent again from where it lies
    old = waits.slot.region
    out.settle(waits)
    assert old.number in out.regions.forgotten
    out.close()
