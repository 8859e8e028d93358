"""A placer by its name: `greedy`, `optimal`, or somebody's function, whose word is checked."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping

from otter_ctl.errors import PlanError
from otter_ctl.placing.greedy import greedy
from otter_ctl.placing.optimal import optimal
from otter_ctl.placing.request import Request
from otter_ctl.placing.rules import Rooms, groups

Placer = Callable[[Request], Mapping[str, str]]

PLACERS: dict[str, Placer] = {"greedy": greedy, "optimal": optimal}


def place(request: Request, placer: str = "greedy") -> dict[str, str]:
    """Item -> room, in the order of the items; every constraint holds.

    Args:
        request: What to place.
        placer: A name of `PLACERS`, or `package.module:function`: a function of a `Request`.

    Raises:
        UnplacedError: An item fits nowhere.
        PlanError: There is no such placer, it failed, or what it says breaks a constraint.
    """
    if not request.items:
        return {}
    own = PLACERS.get(placer)
    if own is not None:
        return dict(own(request))
    return _checked(placer, request, _called(placer, request))


def _called(placer: str, request: Request) -> Mapping[str, str]:
    where = f"placement {placer}"
    package, _, name = placer.partition(":")
    hint = "install the package where otterctl is, or put its folder into PYTHONPATH"
    try:
        with _not_from_here():
            function = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError) as error:
        raise PlanError(where, str(error), hint=hint) from error
    except Exception as error:
        raise PlanError(where, f"{type(error).__name__}: {error}", hint="see --debug") from error
    try:
        answer = function(request)
    except Exception as error:
        kind = type(error).__name__
        raise PlanError(where, f"failed: {kind}: {error}", hint="see --debug") from error
    if not isinstance(answer, Mapping):
        hint = "it must return a mapping: name of each item -> name of its room"
        raise PlanError(where, f"returned {type(answer).__name__}", hint=hint)
    return answer


@contextlib.contextmanager
def _not_from_here() -> Iterator[None]:
    """Nothing is imported from the current folder unless PYTHONPATH names it.

    Mostly that is the topology's, which may be somebody else's, and it is on the path of
    `python -m otter_ctl`, and of everything where PYTHONPATH has an empty part.
    """
    named = {os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p}
    here, before = os.getcwd(), list(sys.path)
    if here not in named:
        sys.path[:] = [path for path in before if os.path.abspath(path) != here]
    try:
        yield
    finally:
        sys.path[:] = before


def _checked(placer: str, request: Request, answer: Mapping[str, str]) -> dict[str, str]:
    """The answer, if it has every item and breaks no constraint."""
    rooms, where = Rooms.of(request), f"placement {placer}"
    for item in request.items:
        room = answer.get(item.name)
        if room not in rooms.by_name:
            what = "is placed nowhere" if room is None else f"is placed on {room!r}: no such host"
            raise PlanError(where, f"{item.name} {what}")
    for group in groups(request):
        room = answer[group.name]
        apart = next((m for m in group.members if answer[m] != room), None)
        if apart is not None:
            raise PlanError(where, f"{group.name} and {apart} must be on one host")
        if group.fixed and group.fixed != room:
            raise PlanError(where, f"{group.name} names its host {group.fixed}, not {room}")
        if not group.fixed:
            why = rooms.refusal(group, room)
            if why:
                raise PlanError(where, f"{group.name} on {room}, which {why}")
        rooms.take(group, room)
    return {item.name: answer[item.name] for item in request.items}
