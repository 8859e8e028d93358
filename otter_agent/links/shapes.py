"""What was changed by hand of many things (directions of links; hosts and modules), until when.

    Asked ─► asked() ─► put() ─┬─► kept across the agent's lives
                               └─► of(thing) ─► its owner's layer `shape`
    time  ─► end()   ─► what is over: its owner brings that into force and tells of it

Must not know: what the things are, what is asked of them otherwise, how anything comes into force.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from net.errors import OtterError
from net.links.changes import Change
from otter_agent.errors import AgentError
from otter_agent.links import leases
from otter_agent.links.leases import Moment, Shape

K = TypeVar("K", bound=Hashable)
_NOTHING = Shape()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Generic[K]):
    """One change by hand, of some things.

    Attributes:
        of: Which.
        reset: Whether all that was changed by hand before is undone first.
        for_s: Then it ends; None: it lasts.
    """

    of: tuple[K, ...]
    change: Change
    reset: bool
    for_s: float | None


class Shapes(Generic[K]):
    """Of one mesh.

    Args:
        kept: What an earlier life has kept.
        put: Keeps, or forgets with None. Raises `AgentError` on a full disk.
        now: The clocks.
    """

    def __init__(
        self,
        kept: Mapping[K, bytes],
        put: Callable[[Mapping[Any, bytes | None]], None],
        now: Callable[[], Moment],
    ) -> None:
        self._shapes = {thing: leases.decode(data) for thing, data in kept.items()}
        self._put = put
        self._now = now

    def of(self, thing: K) -> Shape:
        """What was changed of one; nothing, if it wasn't."""
        return self._shapes.get(thing, _NOTHING)

    def changes(self) -> dict[K, Change]:
        """What holds now, of all that were changed."""
        now = self._now()
        return {thing: shape.at(now).change() for thing, shape in self._shapes.items()}

    def keep_only(self, known: Container[K]) -> None:
        """Others are gone."""
        gone = [thing for thing in self._shapes if thing not in known]
        with suppress(AgentError):  # a full disk: nobody asks for them any more
            self._put(dict.fromkeys(gone))
        for thing in gone:
            del self._shapes[thing]

    def asked(
        self,
        all_asked: Iterable[Asked[K]],
        check: Callable[[K, Change, Change], None],
        name: Callable[[K], str],
    ) -> dict[K, Shape]:
        """What things would be changed to; changes nothing.

        Args:
            all_asked: In this order.
            check: Gets a thing, what was changed of it so far and what is asked; raises
                `AgentError` if that can't be.
            name: A thing in words.

        Raises:
            AgentError: Of `check`; or too many changes of one wait for their end.
        """
        now = self._now()
        shapes: dict[K, Shape] = {}
        for asked in all_asked:
            end = None if asked.for_s is None else now.after(asked.for_s)
            for thing in asked.of:
                before = _NOTHING if asked.reset else shapes.get(thing, self.of(thing))
                check(thing, before.at(now).change(), asked.change)
                shapes[thing] = before.asked(asked.change, end, now)
                if len(shapes[thing].leases) > leases.MOST:
                    text = f"{name(thing)}: {leases.MOST} changes wait for their end already"
                    raise AgentError("bad-request", text, hint="otterctl shape reset undoes them")
        return shapes

    def put(self, shapes: Mapping[K, Shape]) -> None:
        """From now on it is this, of these. Raises `AgentError` on a full disk: nothing is."""
        self._put({t: leases.encode(shape) if shape else None for t, shape in shapes.items()})
        self._hold(shapes)

    def _hold(self, shapes: Mapping[K, Shape]) -> None:
        for thing, shape in shapes.items():
            if shape:
                self._shapes[thing] = shape
            else:
                self._shapes.pop(thing, None)

    def end(self) -> dict[K, Change]:
        """Forget what is over by now; thing -> what that was, of those of which anything is."""
        now = self._now()
        left = {t: shape.at(now) for t, shape in self._shapes.items() if shape.at(now) != shape}
        ended = {thing: self._shapes[thing].ended(now) for thing in left}
        if left:
            try:
                self.put(left)
            except OtterError:  # a full disk: the memory of it ends by itself, too, when it is read
                self._hold(left)
        return ended

    def next_end(self) -> float | None:
        """Seconds until the next change ends; None: none does by itself."""
        now = self._now()
        ends = (shape.next_end(now) for shape in self._shapes.values())
        return min((end for end in ends if end is not None), default=None)

    def reverts_in_s(self, thing: K) -> float | None:
        """The same of one; not negative."""
        shape = self.of(thing)
        end = shape.next_end(self._now()) if shape.leases else None
        return None if end is None else max(0.0, end)
