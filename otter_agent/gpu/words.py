"""What the reader and the agent say to each other: lines of JSON. Pure data."""

from __future__ import annotations

from typing import Literal

from otter_agent import api
from otter_agent.api.base import Data


class News(Data, frozen=True):
    """Something that happened to a GPU, or to all."""

    kind: Literal["xid", "lost", "back"]
    """`xid`: the driver's word of an error; `lost`: it answers no more; `back`: it does again."""
    text: str
    index: int | None = None
    """Which GPU; None: the driver itself."""
    uuid: str = ""
    xid: int | None = None


class LimitOrder(Data, frozen=True):
    """Ask for the memory that a control group may have of a GPU, and set it first."""

    uuid: str
    folder: str
    """Of the control group (v2), a full path."""
    change: bool = False
    hard_bytes: int | None = None
    """What to set; None: no limit."""


class Limit(Data, frozen=True):
    """The answer, read back."""

    hard_bytes: int | None = None
    used_bytes: int | None = None
    error: str = ""
    """Why it can't be: an older driver, a GPU that is split, no such control group."""


class Line(Data, frozen=True):
    """One line: an answer, or news."""

    state: api.GpuState | None = None
    limit: Limit | None = None
    news: News | None = None
