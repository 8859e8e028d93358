"""What is to come of directions that were lent: written beforehand, sent in time, told afterwards.

    go ─► what the kernel has to say, at once or never ─► hear ─► note ─► came

Must not know: the agent, sockets.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from net.links.spec import LinkSpec
from otter_agent.links.base import Direction
from otter_agent.links.netem import tc
from otter_agent.links.netem.playing import letters
from otter_agent.links.netem.playing.letters import Letter
from otter_agent.links.netem.playing.protocol import Came, Lent
from otter_agent.links.planner import Log
from otter_agent.network.netlink import Answer

_STALE = 256
_PARCEL_BYTES = 60_000
"""Below the default send buffer of a socket, 208 KiB."""
_NUMBERS = 1 << 31

Place = tuple[str, int]
"""A namespace's name, and its inode."""


class Post(Protocol):
    """Brings messages to namespaces."""

    def open(self, places: Iterable[Place]) -> dict[Place, str]:
        """Have sockets there; why not, where there are none."""

    def send(self, place: Place, data: bytes) -> None:
        """Messages; what the kernel has to say of them comes to `Agenda.hear`. Raises `OSError`."""

    def keep(self, places: set[Place]) -> None:
        """Let go of all others."""


class _Line:
    """One direction that was lent."""

    __slots__ = ("direction", "gone", "late_ns", "place", "source", "target")

    def __init__(self, lent: Lent) -> None:
        self.direction = lent.direction
        self.late_ns = lent.late_ns
        self.place = letters.place_of(lent)
        self.source: Place = (lent.direction.source_netns, lent.inodes[0])
        self.target: Place = (lent.direction.target_netns, lent.inodes[1])
        self.gone = False


class _Item:
    """One change to come."""

    __slots__ = ("at_s", "letter", "line", "number", "spec", "why")

    def __init__(self, line: _Line, number: int, at_s: float, spec: LinkSpec) -> None:
        self.line = line
        self.number = number
        self.at_s = at_s
        self.spec = spec
        self.letter: Letter | None = None
        self.why = ""

    def __lt__(self, other: _Item) -> bool:
        """Numbers rise, so of two of one direction the earlier one is the first."""
        return (self.at_s, self.number) < (other.at_s, other.number)


class Agenda:
    """Of all directions that were lent.

    Args:
        post: Sends.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._lines: dict[Direction, _Line] = {}
        self._heap: list[_Item] = []
        self._unwritten: deque[_Item] = deque()
        self._log: Log[Came] = Log()
        self._next = 1
        self._sent: list[_Item] = []
        self._sent_s = 0.0
        self._said: dict[int, Answer] = {}
        self._lost: dict[Place, str] = {}
        self.came = self._log.take

    def __bool__(self) -> bool:
        """Whether it has anything to see to."""
        return bool(self._lines)

    @property
    def next_s(self) -> float:
        """When something is due next; infinite: never."""
        heap = self._heap
        while heap and heap[0].line.gone:
            heapq.heappop(heap)
        return heap[0].at_s if heap else float("inf")

    # --- what the agent says ----------------------------------------------------------------------

    def lend(self, lent: Sequence[Lent]) -> None:
        """Make the changes of these from now on."""
        lines = [_Line(one) for one in lent]
        failed = self._post.open({place for one in lines for place in (one.source, one.target)})
        for line in lines:
            self.drop([line.direction], keep=True)
            if not {line.source, line.target} & failed.keys():
                self._lines[line.direction] = line

    def add(self, direction: Direction, number: int, at_s: float, spec: LinkSpec) -> None:
        """One more, later than all of its direction before."""
        line = self._lines.get(direction)
        if line is None:
            why = "it isn't known there any more"
            came = Came(number=number, at_s=time.monotonic(), code=-1, why=why)
            self._log.note(direction.mesh, came)
            return
        item = _Item(line, number, at_s, spec)
        heapq.heappush(self._heap, item)
        self._unwritten.append(item)

    def drop(self, directions: Iterable[Direction], *, keep: bool = False) -> None:
        """Nothing of these is to come any more.

        Args:
            directions: Which.
            keep: Their namespaces' sockets, as they are needed at once.
        """
        found = [line for one in directions if (line := self._lines.pop(one, None)) is not None]
        for line in found:
            line.gone = True
        if found and not keep:
            self._tidy()

    def drop_all(self, mesh: str | None = None) -> None:
        """The same of all, or of one mesh, of which nothing is told any more then."""
        self.drop([one for one in self._lines if mesh in (None, one.mesh)])
        self._tidy()
        if mesh is not None:
            self.came(mesh)

    def _tidy(self) -> None:
        """Forget what won't come, and let go of namespaces that nobody needs."""
        if len(self._heap) > _STALE:
            self._heap = [item for item in self._heap if not item.line.gone]
            heapq.heapify(self._heap)
            self._unwritten = deque(one for one in self._unwritten if not one.line.gone)
        lines = self._lines.values()
        self._post.keep({place for line in lines for place in (line.source, line.target)})

    # --- writing ----------------------------------------------------------------------------------

    @property
    def unwritten(self) -> bool:
        """Whether there is something to write."""
        return bool(self._unwritten)

    def write(self, most: int) -> None:
        """Write so many letters."""
        unwritten = self._unwritten
        while unwritten and most > 0:
            item = unwritten.popleft()
            if not item.line.gone and item.letter is None and not item.why:
                self._write(item)
                most -= 1

    def _write(self, item: _Item) -> None:
        line = item.line
        try:
            item.letter = letters.write(line.place, item.spec, line.late_ns, self._next)
        except letters.Unfit as exc:
            item.why = str(exc)
            return
        self._next = item.letter.numbers.stop % _NUMBERS or 1

    # --- sending ----------------------------------------------------------------------------------

    def go(self, now: float) -> float:
        """Send what is due, in one message per namespace; the time then."""
        if self.next_s > now:
            return now
        due: list[_Item] = []
        mail: dict[Place, list[bytes]] = {}
        while self.next_s <= now:
            item = heapq.heappop(self._heap)
            if item.letter is None and not item.why:
                self._write(item)
            due.append(item)
            if item.letter is not None:
                line, letter = item.line, item.letter
                for place, text in ((line.target, letter.target), (line.source, letter.source)):
                    if text:
                        mail.setdefault(place, []).append(text)
        for place, texts in mail.items():
            try:
                for data in _parcels(texts):
                    self._post.send(place, data)
            except OSError as exc:
                self._lost[place] = str(exc)
        now = time.monotonic()
        self._sent = due
        self._sent_s = now
        return now

    def hear(self, answers: Iterable[tuple[int, Answer]]) -> None:
        """What the kernel had to say of what was sent last."""
        self._said.update(answers)

    def note(self) -> None:
        """Nothing more will be said of what was sent last: that has come, or failed."""
        due, self._sent = self._sent, []
        if not due:
            return
        last = {item.line: item for item in due}
        for item in due:
            came = self._came(item)
            if came.code:
                self.drop([item.line.direction], keep=True)
            if came.code or came.drops is not None or last[item.line] is item:
                self._log.note(item.line.direction.mesh, came)
        self._said.clear()
        self._lost.clear()

    def _came(self, item: _Item) -> Came:
        """What became of a change; nobody complains of most."""
        number, at_s, said, lost = item.number, self._sent_s, self._said, self._lost
        letter = item.letter
        if letter is None:
            return Came(number=number, at_s=at_s, code=-1, why=item.why)
        for place in (item.line.source, item.line.target) if lost else ():
            if place in lost:
                return Came(number=number, at_s=at_s, code=-1, why=lost[place])
        if said:
            found = [said[one] for one in letter.numbers if one in said]
            for answer in found:
                if answer.code:
                    return Came(number=number, at_s=at_s, code=answer.code, why=answer.words)
            asked = said.get(letter.asks)
            if asked is not None and asked.echo is not None:
                drops = tc.parse(*asked.echo).stats.drops
                return Came(number=number, at_s=at_s, drops=drops)
        return Came(number=number, at_s=at_s)


def _parcels(texts: Sequence[bytes]) -> Iterator[bytes]:
    """As many at once as a socket takes."""
    parcel: list[bytes] = []
    size = 0
    for text in texts:
        if parcel and size + len(text) > _PARCEL_BYTES:
            yield b"".join(parcel)
            parcel, size = [], 0
        parcel.append(text)
        size += len(text)
    yield b"".join(parcel)
