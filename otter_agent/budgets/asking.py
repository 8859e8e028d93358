"""What is asked of hosts and modules by hand, looked up: `api.BudgetChange` -> subjects. Pure.

Must not know: what else is asked of them, how it comes into force.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from net.links.changes import Change
from otter_agent import api
from otter_agent.budgets.subjects import FRACTIONS, Subject, fields_of, problem
from otter_agent.errors import AgentError
from otter_agent.links.asking import LONGEST_S, MOST_GLOBS
from otter_agent.links.shapes import Asked

MOST = 20_000
"""Hosts and modules changed by one request."""
MOST_CHANGES = 10_000
_LONGEST_GLOB = 300


def resolve(
    changes: Sequence[api.BudgetChange], known: Iterable[Subject], mesh: str
) -> list[Asked[Subject]]:
    """Look up what each change is about.

    Raises:
        AgentError: `not-found`: no such host or module; `bad-request`: a value that is none.
    """
    if len(changes) > MOST_CHANGES:
        text = f"{len(changes)} changes at once, at most {MOST_CHANGES}"
        raise AgentError("bad-request", text, hint="a change can name many by a glob")
    there: dict[str, dict[str, Subject]] = {"host": {}, "module": {}}
    for subject in known:
        there[subject.kind][subject.name] = subject
    globs = sum(change.name not in there[change.kind] for change in changes)
    if globs > MOST_GLOBS:  # each is compared with every name
        raise AgentError("bad-request", f"more than {MOST_GLOBS} globs at once")
    found, count = [], 0
    for change in changes:
        found.append(_resolved(change, there[change.kind], mesh))
        count += len(found[-1].of)
        if count > MOST:
            text = f"more than {MOST} hosts and modules changed at once"
            raise AgentError("bad-request", text, hint="ask for less at a time")
    return found


def _resolved(change: api.BudgetChange, known: Mapping[str, Subject], mesh: str) -> Asked[Subject]:
    if change.for_s is not None and not 0 < change.for_s <= LONGEST_S:
        why = f"{change.for_s:g} s is no time after which a change can end"
        raise AgentError("bad-request", why, hint="more than 0, at most 30 days")
    return Asked(
        of=tuple(_subjects(change, known, mesh)),
        change=Change(_values(change)),
        reset=change.reset,
        for_s=change.for_s,
    )


def _subjects(
    change: api.BudgetChange, of_kind: Mapping[str, Subject], mesh: str
) -> Iterator[Subject]:
    names = [change.name] if change.name in of_kind else []
    if not names and len(change.name) <= _LONGEST_GLOB:
        names = fnmatch.filter(of_kind, change.name)
    if not names:
        some = ", ".join(list(of_kind)[:20]) + (", …" if len(of_kind) > 20 else "")
        hint = f"there are: {some}" if of_kind else f"it has no {change.kind}s"
        text = f"no {change.kind} {change.name[:80]!r} in mesh {mesh}"
        raise AgentError("not-found", text, hint=hint)
    yield from (of_kind[name] for name in names)


def _values(change: api.BudgetChange) -> dict[str, Any]:
    """Of their fields' types. Raises `AgentError`."""
    fields = fields_of(change.kind)
    for name, value in change.set.items():
        if name not in fields:
            text = f"a {change.kind} has no budget of {name[:80]!r}"
            raise AgentError("bad-request", text, hint=f"it has {', '.join(fields)}")
        if value is not None and not _is_number(value, whole=name not in FRACTIONS):
            raise AgentError("bad-request", f"{name} must be a number, or null")
    values = dict(change.set)
    for name in FRACTIONS:
        if values.get(name) is not None:
            values[name] = float(values[name])
    if why := problem(values, change.kind):
        raise AgentError("bad-request", f"{change.kind} {change.name[:80]}: {why}")
    return values


def _is_number(value: object, *, whole: bool) -> bool:
    """One that can be counted with: JSON's may have thousands of digits."""
    if isinstance(value, float):
        return not whole and math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
