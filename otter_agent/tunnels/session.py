"""One end of a tunnel: who is at the other, by which keys, and what has been seen already. Pure.

    silent ── greeting that names our life ──► joined ── another life of theirs does ──► joined
       └─ we greet until then, where we can reach them; they greet, where they can reach us

Both ends draw a random word when they begin, their *life*. A greeting is made with the link's key;
what is sent then, with keys that follow from both lives too, so nothing of former lives is ever
taken in again. An end believes a greeting only if it names the end's own life: no old one does.
Must not know: sockets, clocks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from hmac import compare_digest

from otter_agent.tunnels import datagrams
from otter_agent.tunnels.datagrams import Greeting, Keyed, Part
from otter_agent.tunnels.pieces import Piece, apart

Address = tuple[str, int]
Datagram = tuple[int, tuple[Part, ...]]
"""How long it is, and what it is made of."""

WINDOW = 1024
"""How much later than others of its sender a datagram may come, in datagrams."""
KEEP_S = 5.0
"""Between greetings while all is well: even a hasty NAT keeps a flow for 30 s (RFC 4787)."""
RETRY_S = 0.05
SLOW_RETRY_S = 1.0
_QUICK = 40
"""Greetings sent soon after each other; then it takes longer for them to be there."""
SILENT_S = 3 * KEEP_S
"""After so long without a greeting they are taken to be gone, and greeted as at first."""
_ANSWER_S = 0.02
"""Answers aren't sent to one address more often than this, whoever repeats what he has heard."""
_ASKERS = 256
"""So many addresses are told apart in that time: what is sent to more of them isn't answered."""
_FORMER = 64
_MASK = (1 << WINDOW) - 1


class Window:
    """Which of a sender's counts have been seen."""

    def __init__(self) -> None:
        self._top = -1
        self._seen = 0

    def is_new(self, count: int) -> bool:
        """Whether a count hasn't been seen, nor is so old that nobody knows; then it has been."""
        ahead = count - self._top
        if ahead == 1:
            self._seen = (self._seen << 1 | 1) & _MASK
            self._top = count
            return True
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & _MASK if ahead < WINDOW else 1
            self._top = count
            return True
        bit = 1 << -ahead if -ahead < WINDOW else 0
        if not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True


class Session:
    """One end.

    Args:
        key: The link's; only its two machines know it.
        number: The link's, in datagrams.
        first: Whether this is the link's first end.
        opens: Where the other end is to be reached from here; None: it isn't, it greets first.
        life: Random.

    Attributes:
        address: Where the other end is, as far as is known.
        joined: Whether both have agreed.
        heard_s: When they were last heard of.
        replayed: Datagrams that had come before, or too late to know.
        forged: Those that had a wrong tag.
    """

    def __init__(
        self, key: bytes, number: int, opens: Address | None, life: bytes, *, first: bool
    ) -> None:
        self.number = number
        self.address = opens
        self.joined = False
        self.heard_s = -math.inf
        self.replayed = self.forged = 0
        self._key, self._first, self._own = key, first, life
        self._opens = opens
        self._link = datagrams.keyed(key)
        self._other = datagrams.NOBODY
        self._former: deque[bytes] = deque(maxlen=_FORMER)
        self._greeted = 0
        self._last_greeting = -1
        self._sent = 0
        self._window = Window()
        self._in: Keyed | None = None
        self._out: Keyed | None = None
        self._answered: dict[Address, float] = {}
        self.next_s = -math.inf if opens else math.inf

    # --- greetings ---------------------------------------------------------------------------

    def due(self, now: float) -> bytes | None:
        """A greeting to send to `address`, if it is time for one."""
        if now < self.next_s or self.address is None:
            return None
        if self.joined and now - self.heard_s > SILENT_S:
            self.joined = False
            self._greeted, self.address = 0, self._opens or self.address
        if self.joined:
            self.next_s = now + KEEP_S
        elif self._opens is None:
            self.next_s = math.inf
        else:
            self.next_s = now + (RETRY_S if self._greeted < _QUICK else SLOW_RETRY_S)
        return self._greeting()

    def greeted(self, datagram: memoryview, source: Address, now: float) -> bytes | None:
        """Take in a greeting; returns what is to be answered to where it came from, if anything."""
        said = datagrams.greeting(datagram)
        if said is None or not datagrams.is_genuine(datagram, self._link):
            self.forged += 1
            return None
        if said.first == self._first or said.own in self._former:
            self.replayed += 1
            return None
        if said.other != self._own:
            return self._answer(said.own, source, now)
        new, count = said.own != self._other, datagrams.serial_of(datagram)
        if new:
            self._join(said.own)
        elif count <= self._last_greeting:
            self.replayed += 1
            return None
        self._last_greeting = count
        self.address, self.heard_s, self.joined = source, now, True
        self.next_s = min(self.next_s, now + KEEP_S)
        return self._answer(said.own, source, now) if new or not said.knows else None

    def _answer(self, other: bytes, source: Address, now: float) -> bytes | None:
        """By address: who repeats old greetings must not keep the other end from its answer."""
        for known, at_s in list(self._answered.items()):
            if now - at_s < _ANSWER_S:
                break  # they are in the order of their times
            del self._answered[known]
        if source in self._answered or len(self._answered) >= _ASKERS:
            return None
        self._answered[source] = now
        return self._greeting(other)

    def _greeting(self, other: bytes | None = None) -> bytes:
        self._greeted += 1
        to = self._other if other is None else other
        what = Greeting(self._first, self.joined and to == self._other, self._own, to)
        return datagrams.pack_greeting(what, self.number, self._greeted, self._link)

    def _join(self, other: bytes) -> None:
        if self._other != datagrams.NOBODY:
            self._former.append(self._other)
        self._other = other
        a, b = (self._own, other) if self._first else (other, self._own)
        forth = datagrams.keyed(datagrams.derived(self._key, b"a to b", a, b))
        back = datagrams.keyed(datagrams.derived(self._key, b"b to a", a, b))
        self._out, self._in = (forth, back) if self._first else (back, forth)
        self._sent, self._window, self._last_greeting = 0, Window(), -1

    # --- packets -----------------------------------------------------------------------------

    def sealed(self, packet: memoryview) -> list[Datagram]:
        """What is to be sent to `address` of a packet of a device's; nothing: nobody is there."""
        key = self._out
        if key is None or not self.joined:
            return []
        made: list[Datagram] = []
        kind, serial = datagrams.PACKET << 24 | self.number, self._sent
        for about, body in apart(packet):
            serial += 1
            words = datagrams.WORDS.pack(kind, serial >> 16, serial & 0xFFFF) + about
            tag = key.copy()
            tag.update(words)
            size = datagrams.HEAD_BYTES
            for part in body:
                tag.update(part)
                size += len(part)
            made.append((size, (tag.digest() + words, *body)))
        self._sent = serial
        return made

    def taken(self, found: Iterable[memoryview]) -> list[Piece]:
        """What of datagrams, none too short, comes from the other end for the first time."""
        key, is_new = self._in, self._window.is_new
        if key is None:
            return []
        made = []
        for one in found:
            tag, _, high, low, flags, offset = datagrams.PACKET_HEAD.unpack_from(one)
            own = key.copy()
            own.update(one[datagrams.TAG_BYTES :])
            if not compare_digest(own.digest(), tag):
                self.forged += 1
            elif is_new(serial := high << 16 | low):
                made.append(Piece(serial, flags, offset, one[datagrams.HEAD_BYTES :]))
            else:
                self.replayed += 1
        return made
