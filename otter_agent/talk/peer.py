"""A conversation with the agent of one other machine. Pure: times are passed in.

    at first, and after news      ask ─► answer ─► ask …   until answered, ever less often
    then                          ask, every other second

Each datagram says all there is to say. What is heard counts if it answers a question of ours that
was open, or comes after what counted last and is of the same life: so nothing that was said before
can be said again by somebody else. Must not know: sockets, what the news mean.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from net.timebase import DRIFT
from otter_agent.talk.datagrams import Heard, News, Said
from otter_agent.talk.offsets import Samples, of_times

EVERY_S = 2.0
FIRST_S = 0.05
FIRST = 8
"""So many questions are asked one right after the other's answer: the quickest tells most."""
_OPEN = 16


@dataclass(frozen=True, slots=True)
class Now:
    """A moment: by the machine's clock, and by one that nobody sets."""

    wall_s: float
    steady_s: float


class Peer:
    """One other machine.

    Args:
        life: Of this agent.

    Attributes:
        samples: What is known of its clock.
        news: What it told last; None: nothing yet.
        due_s: When it is to be asked next, by the steady clock.
    """

    def __init__(self, life: str) -> None:
        self._life = life
        self.samples = Samples()
        self.news: News | None = None
        self.due_s = -math.inf
        self._number = 0
        self._open: OrderedDict[int, Now] = OrderedDict()
        self._unanswered = self._since = 0
        self._asked_s = self._doubted_s = -math.inf
        self._their_life = ""
        self._last = 0
        self._error: tuple[float | None, float] = (None, 0.0)

    def is_due(self, now: Now) -> bool:
        """Whether it is to be asked."""
        return self.due_s <= now.steady_s

    def error_at(self, steady_s: float) -> float | None:
        """By how much its clock may differ from the mesh's; None: nobody knows."""
        error_s, at_s = self._error
        return None if error_s is None else error_s + DRIFT * (steady_s - at_s)

    def ask(self, now: Now, error_s: float | None, news: News) -> Said:
        """A question, with all there is to say."""
        said = self._say(now, error_s, news, asks=True)
        self._open[said.number], self._asked_s = now, now.steady_s
        while len(self._open) > _OPEN:
            self._open.popitem(last=False)
        pause = self._pause()
        if self._unanswered:
            pause = min(EVERY_S, FIRST_S * 2 ** min(self._unanswered, 10))
        self._unanswered += 1
        self.due_s = now.steady_s + pause
        return said

    def hurry(self) -> None:
        """There is news: it is said at once, and again until it is known to have come."""
        self._unanswered, self._since = 1, self._number + 1
        self.due_s = -math.inf

    def is_owed(self, counted: bool, now: Now) -> bool:
        """Whether a question is to be answered; `counted`: what `hear` said of it.

        Others, too, as who has begun anew isn't known yet; but seldom: somebody may repeat them.
        """
        if counted:
            return True
        if now.steady_s - self._doubted_s < FIRST_S:
            return False
        self._doubted_s = now.steady_s
        return True

    def answer(self, said: Said, now: Now, came: Now, error_s: float | None, news: News) -> Said:
        """To a question that came."""
        return self._say(now, error_s, news, heard=Heard(said.number, came.wall_s), to=said.life)

    def _say(
        self,
        now: Now,
        error_s: float | None,
        news: News,
        *,
        asks: bool = False,
        heard: Heard | None = None,
        to: str = "",
    ) -> Said:
        self._number += 1
        return Said(
            life=self._life, number=self._number, sent_s=now.wall_s, to=to or self._their_life,
            asks=asks, heard=heard, error_s=error_s, news=news,
        )  # fmt: skip

    def hear(self, said: Said, came: Now) -> bool:
        """Take in what it says; whether that counts."""
        if said.to not in ("", self._life):
            return False
        asked = self._open.pop(said.heard.number, None) if said.heard and said.to else None
        if asked is None and (said.life != self._their_life or said.number <= self._last):
            if said.life != self._their_life:
                # Who is that? Its answer tells. Somebody may repeat it: all the same not at once.
                self.due_s = min(self.due_s, max(came.steady_s, self._asked_s + FIRST_S))
            return False
        if asked is not None and said.heard is not None:
            took_s = came.steady_s - asked.steady_s
            found = of_times(asked.wall_s, said.heard.at_s, said.sent_s, came.wall_s, took_s)
            if found is not None:
                self.samples.add(found, came.steady_s)
            if said.heard.number >= self._since:
                self._unanswered = 0
                self.due_s = came.steady_s + self._pause()
        late = said.life == self._their_life and said.number <= self._last
        if not late:
            self._their_life, self._last = said.life, said.number
            self.news, self._error = said.news, (said.error_s, came.steady_s)
        return not late

    def _pause(self) -> float:
        return FIRST_S if len(self.samples) < FIRST else EVERY_S
