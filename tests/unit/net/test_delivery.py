"""What a sender keeps and a receiver acknowledges: pure, step by step and at random."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.delivery import MOST_BYTES, MOST_MESSAGES, Outstanding, Progress
from net.entries import Entry


def entry(seq, nbytes=10, **more):
    return Entry(seq, [bytes(nbytes)], nbytes, **more)


def written(kept, *seqs):
    outstanding = Outstanding(kept=kept)
    for seq in seqs:
        outstanding.wrote_at_once(seq, bytes(10))
    return outstanding


def seqs_to_write(outstanding):
    found = []
    while (first := outstanding.first()) is not None:
        found.append(first.seq)
        outstanding.wrote_first(first)
    return found


def test_what_is_written_is_kept_until_it_is_acknowledged():
    outstanding = written(True, 1, 2, 3)
    outstanding.acknowledge(2)
    assert len(outstanding) == 1
    assert outstanding.again() == 1
    assert seqs_to_write(outstanding) == [3]
    assert len(outstanding) == 1


def test_at_most_once_keeps_nothing():
    outstanding = written(False, 1, 2)
    assert len(outstanding) == 0
    outstanding.admit(entry(3))
    assert seqs_to_write(outstanding) == [3]
    assert (len(outstanding), outstanding.again()) == (0, 0)


def test_after_a_cut_all_goes_again_in_order_before_what_is_new():
    outstanding = written(True, 1, 2)
    outstanding.admit(entry(3))
    outstanding.admit(entry(4))
    outstanding.wrote_first(outstanding.first())
    outstanding.again()
    assert seqs_to_write(outstanding) == [1, 2, 3, 4]


def test_an_acknowledgement_may_come_before_we_know_that_it_was_written():
    outstanding = Outstanding(kept=True)
    told = []
    first = entry(1, on_settled=lambda: told.append(1))
    outstanding.admit(first)
    for tell in outstanding.acknowledge(1):
        tell()
    assert told == [1]
    outstanding.wrote_first(first)
    assert (first.settled, len(outstanding)) == (True, 0)


def test_it_is_full_by_messages_or_by_bytes_until_acknowledged():
    outstanding = written(True, *range(1, MOST_MESSAGES))
    assert not outstanding.full
    outstanding.wrote_at_once(MOST_MESSAGES, b"")
    assert outstanding.full
    outstanding.acknowledge(1)
    assert not outstanding.full
    outstanding = Outstanding(kept=True)
    outstanding.admit(Entry(1, [], MOST_BYTES))
    assert outstanding.full
    assert outstanding.withdraw(outstanding.first())
    assert not outstanding.full


def test_the_oldest_makes_room_but_not_the_one_being_written():
    outstanding = Outstanding(kept=False)
    for seq in (1, 2, 3):
        outstanding.admit(entry(seq))
    assert outstanding.drop_oldest(but_first=True).seq == 2
    assert outstanding.drop_oldest(but_first=True).seq == 3
    assert outstanding.drop_oldest(but_first=True) is None
    assert outstanding.drop_oldest(but_first=False).seq == 1
    assert outstanding.drop_oldest(but_first=False) is None


def test_owning_copies_once_and_only_what_is_the_modules():
    memory = bytearray(b"before")
    mine = Entry(1, [memoryview(memory)], 6, owned=False)
    mine.own()
    memory[:] = b"after!"
    assert bytes(mine.buffers[0]) == b"before"
    buffers = mine.buffers
    mine.own()
    assert mine.buffers is buffers


def test_what_came_before_is_known():
    progress = Progress()
    assert [progress.is_new(n) for n in (1, 2, 2, 1, 3)] == [True, True, False, False, True]


def test_done_is_acknowledged_in_order_whatever_the_order():
    progress = Progress()
    for n in (1, 2, 3, 4):
        progress.is_new(n)
    assert not progress.finish(2)
    assert progress.finish(1)
    assert (progress.done, progress.idle) == (2, False)
    assert not progress.finish(1)
    assert not progress.finish(4)
    assert progress.finish(3)
    assert (progress.done, progress.idle) == (4, True)
    assert not progress.finish(4)


def test_numbers_that_were_left_out_hold_nothing_up():
    progress = Progress()
    for n in (57, 60, 61):
        progress.is_new(n)
    assert progress.done == 56  # a former life of the receiver was done with those
    assert progress.finish(57)
    assert progress.finish(60)
    assert progress.done == 60


@pytest.mark.slow
@given(st.lists(st.sampled_from(["send", "cut", "ack", "done", "lose"]), max_size=60))
def test_whatever_happens_nothing_is_lost_and_nothing_comes_twice(steps):
    """A wire that may be cut at any time, with what was on it; a receiver that takes its time."""
    sender, receiver = Outstanding(kept=True), Progress()
    wire, queue, taken, sent = [], [], [], 0

    def write():
        wire.extend(seqs_to_write(sender))

    def arrive():
        while wire:
            seq = wire.pop(0)
            if receiver.is_new(seq):
                queue.append(seq)

    for step in [*steps, "cut", *["done"] * 60, "ack"]:
        if step == "send":
            sent += 1
            sender.admit(entry(sent))
            write()
        elif step == "lose":
            del wire[len(wire) // 2 :]  # only a cut loses: what comes behind is lost, too
            step = "cut"
        elif step == "done":
            arrive()
            if queue:
                taken.append(queue.pop(0))
                receiver.finish(taken[-1])
        elif step == "ack":
            sender.acknowledge(receiver.done)
        if step == "cut":
            arrive()
            sender.again()
            sender.acknowledge(receiver.done)
            write()
    assert taken == list(range(1, sent + 1))
    assert len(sender) == 0
