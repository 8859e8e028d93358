"""What two agents say to each other: sealed, in order, and how much that tells of their clocks."""

from __future__ import annotations

import random

import pytest

from net.timebase import DRIFT
from otter_agent.talk.datagrams import MAX_SAID_BYTES, News, Said, opened, seal
from otter_agent.talk.offsets import Samples, of_times
from otter_agent.talk.peer import EVERY_S, FIRST, Now, Peer

KEY = "ab" * 16


def said(**more) -> Said:
    return Said(life="one", number=1, sent_s=100.0, **more)


def test_what_is_sealed_is_opened_by_who_knows_the_key() -> None:
    big = News(1.5, {f"event{i}": float(i) for i in range(1000)}, (("radio", "a", "b"),))
    for news in (News(), big):
        data = seal(said(news=news), KEY, "m1")
        assert len(data) < 60_000
        assert opened(data, KEY, "m1") == said(news=news)
        assert opened(data, "cd" * 16, "m1") is None
        assert opened(data, KEY, "m2") is None  # nobody's own words come back as another's
        for at in (0, 16, 20, len(data) - 1):
            changed = bytearray(data)
            changed[at] ^= 1
            assert opened(bytes(changed), KEY, "m1") is None


@pytest.mark.parametrize("junk", [b"", b"\0" * 16, b"x" * 3, b"y" * 5000])
def test_junk_says_nothing(junk: bytes) -> None:
    assert opened(junk, KEY, "m1") is None


def test_sealed_nonsense_says_nothing() -> None:
    assert opened(seal(said(news=News(float("nan"))), KEY, "m1"), KEY, "m1") is None
    assert opened(seal(said(error_s=-1.0), KEY, "m1"), KEY, "m1") is None


def test_too_much_is_an_error_where_it_is_said() -> None:
    word = random.Random(1).randbytes(40_000).hex()
    with pytest.raises(ValueError, match="too much"):
        seal(said(news=News(fired={word: 1.0, word[::-1]: 2.0})), KEY, "m1")
    assert MAX_SAID_BYTES > 1 << 20


def test_the_error_bar_holds_whichever_way_takes_longer() -> None:
    rng = random.Random(7)
    for _ in range(200):
        offset, there, back, hold = rng.uniform(-5, 5), rng.random(), rng.random(), rng.random()
        t0 = 1000.0
        t1 = t0 + there + offset
        took = there + hold + back
        found = of_times(t0, t1, t1 + hold, t0 + took, took)
        assert found is not None
        assert abs(found.offset_s - offset) <= found.error_s + 1e-9


def test_a_clock_that_was_set_meanwhile_tells_nothing() -> None:
    assert of_times(100.0, 100.1, 100.1, 103.0, 0.2) is None
    assert of_times(100.0, 100.1, 99.0, 100.2, 0.2) is None


def test_the_best_answer_counts_until_it_is_old() -> None:
    samples = Samples()
    good, poor = of_times(0, 1.0001, 1.0001, 0.0002, 0.0002), of_times(0, 1.01, 1.01, 0.02, 0.02)
    assert good is not None
    assert poor is not None
    samples.add(good, 0.0)
    samples.add(poor, 1.0)
    best = samples.best(1.0)
    assert best is not None
    assert best.offset_s == pytest.approx(1.0, abs=1e-6)
    assert best.error_s == pytest.approx(0.0001 + DRIFT, abs=2e-6)
    later = samples.best(1000.0)
    assert later is not None
    assert later.error_s == pytest.approx(0.0001 + 1000 * DRIFT, abs=1e-5)


def test_a_clock_that_was_set_is_believed_at_once() -> None:
    samples = Samples()
    before, after = of_times(0, 1.0001, 1.0001, 0.0002, 0.0002), of_times(9, 3.0, 3.0, 9.02, 0.02)
    assert before is not None
    assert after is not None
    samples.add(before, 0.0)
    assert samples.add(after, 9.0)
    best = samples.best(9.0)
    assert best is not None
    assert best.offset_s == pytest.approx(-6.01, abs=1e-6)


class Pair:
    """Two agents whose clocks differ, and a network between them that is told what to do."""

    def __init__(self, offset_s: float = 3.0, way_s: float = 0.01) -> None:
        self.steady, self.offset_s, self.way_s = 50.0, offset_s, way_s
        self.a, self.b = Peer("a1"), Peer("b1")
        self.news = {"a": News(), "b": News()}

    def now(self, which: str) -> Now:
        return Now(1000 + self.steady + (self.offset_s if which == "b" else 0.0), self.steady)

    def round(self, who: str = "a", *, lost: bool = False) -> Said:
        """One asks, the other answers."""
        mine, other, there = (self.a, self.b, "b") if who == "a" else (self.b, self.a, "a")
        asked = mine.ask(self.now(who), 0.0, self.news[who])
        if lost:
            return asked
        self.steady += self.way_s
        came = self.now(there)
        other.hear(asked, came)
        answer = other.answer(asked, self.now(there), came, 0.5, self.news[there])
        self.steady += self.way_s
        mine.hear(answer, self.now(who))
        return asked


def test_they_find_each_other_and_how_their_clocks_differ() -> None:
    pair = Pair()
    pair.news = {"a": News(1.0), "b": News(2.0)}
    pair.round("a")
    assert pair.a.news == News(2.0)
    assert pair.b.news is None  # that it is really A who asks, B's own question tells
    assert pair.b.due_s <= pair.steady
    assert pair.a.error_at(pair.steady) == pytest.approx(0.5, abs=1e-4)
    pair.round("b")
    assert pair.b.news == News(1.0)
    best = pair.a.samples.best(pair.steady)
    assert best is not None
    assert best.offset_s == pytest.approx(3.0)
    assert 0.01 <= best.error_s < 0.0101


def test_what_was_said_before_is_not_heard_again() -> None:
    pair = Pair()
    pair.round("a")
    pair.round("b")
    old = pair.a.ask(pair.now("a"), 0.0, News(fired={"x": 1.0}))
    pair.b.hear(old, pair.now("b"))
    assert pair.b.news == News(fired={"x": 1.0})
    pair.round("a")
    assert pair.b.news == News()
    assert not pair.b.hear(old, pair.now("b"))
    assert pair.b.news == News()
    # Nor to a later life of either, nor of an earlier one.
    reborn = Peer("b2")
    assert not reborn.hear(old, pair.now("b"))
    pair.a = Peer("a2")
    pair.round("a")
    pair.round("b")
    assert not pair.b.hear(old, pair.now("b"))
    assert pair.b.news == News()


def test_who_repeats_questions_gets_few_answers_and_makes_nobody_ask() -> None:
    pair = Pair()
    old = Peer("a0").ask(pair.now("a"), 0.0, News())
    pair.round("a")
    pair.round("b")
    asked = pair.a.ask(pair.now("a"), 0.0, News())
    assert pair.b.is_owed(pair.b.hear(asked, pair.now("b")), pair.now("b"))
    answers = questions = 0
    for _ in range(1000):  # within a second
        pair.steady += 0.001
        now = pair.now("b")
        for said in (asked, old):
            answers += pair.b.is_owed(pair.b.hear(said, now), now)
        if pair.b.is_due(now):
            pair.b.ask(now, 0.0, News())
            questions += 1
    assert 10 <= answers <= 21
    assert questions <= 21
    assert pair.b.is_owed(pair.b.hear(pair.a.ask(now, 0.0, News()), now), now)


def test_a_new_life_is_heard_after_one_question() -> None:
    pair = Pair()
    pair.round("a")
    pair.round("b")
    pair.a = Peer("a2")
    pair.news["a"] = News(down=(("radio", "a", "b"),))
    pair.round("a")
    assert pair.b.news == News()
    pair.round("b")
    assert pair.b.news == pair.news["a"]


def test_often_at_first_then_seldom_and_again_until_news_have_come() -> None:
    pair = Pair()
    for _ in range(FIRST):
        assert pair.a.due_s < pair.steady + 0.2
        pair.round("a")
    assert pair.a.due_s == pytest.approx(pair.steady + EVERY_S)
    pair.a.hurry()
    assert pair.a.due_s < pair.steady
    pauses = []
    for _ in range(8):
        pair.round("a", lost=True)
        pauses.append(pair.a.due_s - pair.steady)
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.11
    assert pauses[-1] == EVERY_S
    pair.round("a")
    assert pair.a.due_s == pytest.approx(pair.steady + EVERY_S)


def test_an_answer_to_what_was_asked_before_the_news_doesnt_calm() -> None:
    pair = Pair()
    for _ in range(FIRST):
        pair.round("a")
    before = pair.a.ask(pair.now("a"), 0.0, News())
    pair.a.hurry()
    pair.a.ask(pair.now("a"), 0.0, News(1.0))
    came = pair.now("b")
    answer = pair.b.answer(before, came, came, 0.0, News())
    pair.a.hear(answer, pair.now("a"))
    assert pair.a.due_s <= pair.steady + 0.1
