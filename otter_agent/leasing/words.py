"""What the agent and the arbiter say to each other: a line of JSON each way. Pure data."""

from __future__ import annotations

from otter_agent.api.base import Data

MARK = "--turns"
"""In the arbiter's command line."""


class Member(Data, frozen=True):
    """A module that shares."""

    name: str
    """`MESH/MODULE`."""
    socket: str
    """Where it asks: a path that only it is shown."""
    weight: float


class Told(Data, frozen=True):
    """All members: who isn't among them shares no more."""

    members: tuple[Member, ...] = ()
    more: bool = False
    """These besides those that there are: an agent that has just begun doesn't know all yet."""
    end: bool = False
    """Let go of all, and end."""


class Held(Data, frozen=True):
    """What a member had of one thing, since it began to share."""

    name: str
    what: str
    weight: float
    held_s: float
    turns: int
    revoked: int
    """Turns that were taken away, as they lasted too long."""
    waiting: int
    """Requests, now."""
    holds_s: float | None = None
    """For how long it has had its turn; None: it has none."""


class Report(Data, frozen=True):
    """The arbiter's answer."""

    held: tuple[Held, ...] = ()
    failed: tuple[str, ...] = ()
    """Members that can't be served, and why."""
