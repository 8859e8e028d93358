"""What is asked of `verify`, and its certificate. Pure data."""

from __future__ import annotations

from typing import Literal

import msgspec

from otter_agent.api.base import Data
from otter_agent.api.machine import Problem

Effort = Literal["quick", "normal", "thorough"]


class VerifyTolerance(Data, frozen=True):
    """How far off is still right: the larger of the two."""

    absolute: float = 0.0
    """In the property's SI unit."""
    relative: float = 0.0
    """Of what was asked."""


class VerifyRequest(Data, frozen=True):
    """The body of `POST /v1/meshes/NAME/verify`."""

    links: tuple[str, ...] = ()
    """Names or globs, `radio`, or `radio:phone>edge` for one direction; none: all."""
    effort: Effort = "normal"
    tolerances: dict[str, VerifyTolerance] = msgspec.field(default_factory=dict)
    """Property -> instead of the usual one."""
    links_too: bool = True
    """Whether links are measured at all."""
    cpu: bool = True
    """Whether hosts' computing is measured, too."""


class VerifyRow(Data, frozen=True, rename={"from_": "from"}):
    """One line of the certificate: one property of one direction of a link, or of a host."""

    link: str
    """Empty: it is of a host, `from` and `to`."""
    from_: str
    to: str
    property: str
    asked: float | None
    """SI; None: nothing was asked, so what is measured is right."""
    measured: float | None
    error: float | None
    """`measured` less `asked`."""
    ok: bool
    low: float | None = None
    """Between this and `high` lies the true value, with `confidence`."""
    high: float | None = None
    confidence: float = 0.99
    n: int = 0
    """Observations."""
    tolerance: float = 0.0
    """Out of tolerance: the whole interval is further away from what was asked."""
    note: str = ""


class VerifyLine(Data, frozen=True):
    """One line of the answer: how far it is, rows that are final, or why it ended."""

    done: int = 0
    """Directions and hosts of which all rows have come."""
    total: int = 0
    doing: str = ""
    rows: tuple[VerifyRow, ...] = ()
    problem: Problem | None = None
