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


class Line(Data, frozen=True):
    """One line: an answer, or news."""

    state: api.GpuState | None = None
    news: News | None = None
