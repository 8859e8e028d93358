"""The least cost there is, by mixed-integer programming with HiGHS. Pure.

For each group g and room r where it may be, x[g,r] is 1 if it is there. For each flow between two
loose groups, y[r,s] is 1 if it goes from r to s; its sums over s and over r are the ends' x. On
trees of flows that is exact even without integers, so pipelines are quick. For each image that has
to be brought to a store there is one that is 1 if any group there needs it. Fullness squared is
held up from below by `TANGENTS`. The greedy placement is where the search starts, and what remains
if time runs out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from otter_ctl.errors import PlanError
from otter_ctl.placing.costs import CROWDING_S, image_s, total_s
from otter_ctl.placing.greedy import greedy
from otter_ctl.placing.request import Request
from otter_ctl.placing.rules import SLACK
from otter_ctl.placing.seating import Seating

WITHIN_S = 30.0
"""Of search; what was found by then is taken."""
TANGENTS = 8
MOST = 2_000_000
"""Unknowns; more would not fit a laptop's memory."""


@dataclass(slots=True)
class _Program:
    """Unknowns between 0 and 1, their costs, and rows: lower <= Σ value · unknown <= upper."""

    costs: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    """Unknowns that are 0 or 1."""
    rows: list[tuple[float, float, list[int], list[float]]] = field(default_factory=list)

    def unknown(self, cost: float, *, whole: bool = False) -> int:
        """One more; its number."""
        self.costs.append(cost)
        if whole:
            self.whole.append(len(self.costs) - 1)
        return len(self.costs) - 1

    def row(self, low: float, high: float, terms: dict[int, float]) -> None:
        """One more condition."""
        self.rows.append((low, high, list(terms), list(terms.values())))


def optimal(request: Request) -> dict[str, str]:
    """Item -> room.

    Raises:
        UnplacedError: There is no placement at all, as far as `greedy` finds.
        PlanError: HiGHS isn't installed, or there are too many choices.
    """
    start = greedy(request)
    seating = Seating(request)
    program, seats = _program(seating)
    if not seats:
        return start
    values = _solve(program, _start(program, seating, seats, start))
    if values is None:
        return start
    found = dict(start)
    for group, rooms in seats.items():
        room = max(rooms, key=lambda name, rooms=rooms: values[rooms[name]])  # type: ignore[misc]
        found.update(dict.fromkeys(seating.of[group].members, room))
    return found if total_s(request, found) <= total_s(request, start) else start


Seats = dict[str, dict[str, int]]
"""Group -> room -> the unknown that says it is there."""


def _program(seating: Seating) -> tuple[_Program, Seats]:
    program = _Program()
    seats: Seats = {}
    for group in seating.loose:
        may = [room for room in seating.rooms.by_name if seating.rooms.fits(group, room)]
        seats[group.name] = {
            room: program.unknown(seating.alone_s(group, room), whole=True) for room in may
        }
    size = sum(map(len, seats.values())) + sum(
        len(seats.get(seating.of[f.source].name, ()))
        * len(seats.get(seating.of[f.target].name, ()))
        for f in seating.request.flows
    )
    if size > MOST:
        hint = 'use placement = "greedy", or name the `host` of more modules'
        raise PlanError("placement", f"{size} choices are too many for `optimal`", hint=hint)
    for rooms in seats.values():
        program.row(1, 1, dict.fromkeys(rooms.values(), 1.0))
    _flows(program, seating, seats)
    _capacities(program, seating, seats)
    _enemies(program, seating, seats)
    _barred(program, seating, seats)
    _images(program, seating, seats)
    return program, seats


def _flows(program: _Program, seating: Seating, seats: Seats) -> None:
    """Flows between two loose groups; those to seated ones are in the cost of x already."""
    for flow in seating.request.flows:
        source, target = seating.of[flow.source], seating.of[flow.target]
        if source is target or source.name not in seats or target.name not in seats:
            continue
        froms, tos = seats[source.name], seats[target.name]
        out: dict[str, dict[int, float]] = {room: {x: -1.0} for room, x in froms.items()}
        into: dict[str, dict[int, float]] = {room: {x: -1.0} for room, x in tos.items()}
        for a in froms:
            for b in tos:
                y = program.unknown(flow.weight * seating.flow_s(a, b, flow.message_bytes))
                out[a][y] = into[b][y] = 1.0
        for terms in (*out.values(), *into.values()):
            program.row(0, 0, terms)


def _capacities(program: _Program, seating: Seating, seats: Seats) -> None:
    """No room holds more than it has; and how full it is costs."""
    groups = {group.name: group for group in seating.loose}
    infinite = float("inf")
    for room in seating.request.rooms:
        here = [
            (groups[name], rooms[room.name]) for name, rooms in seats.items() if room.name in rooms
        ]
        used = seating.rooms.used[room.name]
        crowding: int | None = None
        for kind, has in room.has.items():
            terms = {x: group.needs[kind] for group, x in here if group.needs.get(kind)}
            if not terms or has <= 0:
                continue
            taken = used.get(kind, 0.0)
            program.row(-infinite, max(has - taken, 0.0) + SLACK, terms)
            if crowding is None:
                crowding = program.unknown(CROWDING_S)
            for n in range(1, TANGENTS + 1):
                at = n / TANGENTS  # u² >= 2·at·u - at², for u = (taken + Σ needs) / has
                row = {x: 2 * at * needs / has for x, needs in terms.items()}
                program.row(-infinite, at * at - 2 * at * taken / has, {**row, crowding: -1.0})


def _enemies(program: _Program, seating: Seating, seats: Seats) -> None:
    """Items apart are not in one room; those that are seated keep theirs out already."""
    for item, others in seating.rooms.enemies.items():
        for other in others:
            one, two = seats.get(seating.of[item].name), seats.get(seating.of[other].name)
            if item < other and one is not None and two is not None:
                for room in one.keys() & two.keys():
                    program.row(0, 1, {one[room]: 1.0, two[room]: 1.0})


def _barred(program: _Program, seating: Seating, seats: Seats) -> None:
    """Ends of a flow aren't in two rooms between which none can lead."""
    barred = seating.request.barred
    for flow in seating.request.flows if barred is not None else ():
        source, target = seating.of[flow.source].name, seating.of[flow.target].name
        for a, x in seats.get(source, {}).items() if source != target else ():
            for b, y in seats.get(target, {}).items():
                if a != b and barred is not None and barred(a, b, flow.by):
                    program.row(0, 1, {x: 1.0, y: 1.0})


def _images(program: _Program, seating: Seating, seats: Seats) -> None:
    """Each image is brought to a store once, if any group there needs it."""
    rooms, needed = seating.rooms, dict[tuple[str, str], list[int]]()
    for group in seating.loose:
        for room, x in seats[group.name].items():
            for image in group.images:
                needed.setdefault((rooms.by_name[room].keeps, image), []).append(x)
    for one, users in needed.items():
        size = seating.request.sends.get(one, 0)
        if not size or rooms.images.get(one):  # it is there, or those that are seated bring it
            continue
        brought = program.unknown(image_s(size))
        for x in users:
            program.row(-float("inf"), 0, {x: 1.0, brought: -1.0})


def _start(
    program: _Program, seating: Seating, seats: Seats, start: dict[str, str]
) -> dict[int, float]:
    """The whole unknowns of a known placement."""
    return {
        x: 1.0 if start[group] == room else 0.0
        for group, rooms in seats.items()
        for room, x in rooms.items()
    }


def _solve(program: _Program, start: dict[int, float]) -> list[float] | None:
    """Values of all unknowns; None: none were found in time."""
    try:
        import highspy
        import numpy as np
    except ImportError:
        hint = "pip install 'otter-mesh[optimal]'"
        raise PlanError("placement", "optimal needs highspy, which isn't here", hint=hint) from None

    class Quiet(highspy.Highs):  # type: ignore[misc]
        """One that says nothing on stdout, not even its name as it is made."""

        def enableCallbacks(self) -> None:  # noqa: N802
            self.silent()
            super().enableCallbacks()

    solver = Quiet()
    solver.setOptionValue("time_limit", WITHIN_S)
    solver.setOptionValue("threads", 1)
    count = len(program.costs)
    solver.addVars(count, np.zeros(count), np.ones(count))
    solver.changeColsCost(count, np.arange(count, dtype=np.int32), np.array(program.costs))
    kind = np.full(len(program.whole), highspy.HighsVarType.kInteger)
    solver.changeColsIntegrality(len(kind), np.array(program.whole, dtype=np.int32), kind)
    starts = np.cumsum([0, *(len(row[2]) for row in program.rows)])[:-1].astype(np.int32)
    numbers = np.array([n for row in program.rows for n in row[2]], dtype=np.int32)
    values = np.array([v for row in program.rows for v in row[3]])
    low, high = (np.array([row[side] for row in program.rows]) for side in (0, 1))
    solver.addRows(len(program.rows), low, high, len(values), starts, numbers, values)
    where = np.array(list(start), dtype=np.int32)
    solver.setSolution(len(where), where, np.array(list(start.values())))
    solver.run()
    if solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    return list(solver.getSolution().col_value)
