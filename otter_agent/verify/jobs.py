"""What the prober's process is told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.api.base import Data
from otter_agent.errors import AgentError
from otter_agent.links.ways import Way, ways

MOST_PATTERNS = 1000
"""Each is compared with each link."""
_LONGEST_PATTERN = 600


class DirectionJob(Data, frozen=True, rename={"from_": "from"}):
    """One direction of a link."""

    link: str
    from_: str
    to: str
    source_netns: str
    target_netns: str
    source_address: str
    target_address: str
    device: str
    asked: LinkSpec = LinkSpec()


class HostJob(Data, frozen=True):
    """A host whose computing is to be measured."""

    name: str
    cores: float | None
    procs_files: tuple[str, ...]
    """Of a group below the host's, in the order in which a process enters."""
    usage_file: str = ""
    """How long the host's group has computed, in nanoseconds or in cpu.stat's words."""


class Job(Data, frozen=True):
    """All of it; the first and only line that the prober reads."""

    effort: api.Effort
    directions: tuple[DirectionJob, ...] = ()
    hosts: tuple[HostJob, ...] = ()
    tolerances: dict[str, api.VerifyTolerance] = msgspec.field(default_factory=dict)
    seed: int = 0


def chosen(spec: api.MeshSpec, patterns: Sequence[str]) -> list[Way]:
    """The directions that patterns stand for, each once.

    Raises:
        AgentError: A pattern stands for nothing (`not-found`); there are too many of them.
    """
    every = list(ways(spec))
    if not patterns:
        return every
    if len(patterns) > MOST_PATTERNS or any(len(one) > _LONGEST_PATTERN for one in patterns):
        why = f"over {MOST_PATTERNS} names of links, or over {_LONGEST_PATTERN} characters in one"
        raise AgentError("bad-request", why, hint="globs stand for several: 'up-*'")
    found: set[Way] = set()
    for pattern in patterns:
        hits = {way for way in every if _fits(way, pattern)}
        if not hits:
            known = ", ".join(link.name for link in spec.links[:20]) or "none"
            raise AgentError(
                "not-found", f"no link {pattern!r} in mesh {spec.name}", hint=f"there are: {known}"
            )
        found |= hits
    return [way for way in every if way in found]


def _fits(way: Way, pattern: str) -> bool:
    name, _, ends = pattern.partition(":")
    if not fnmatchcase(way.link, name):
        return False
    first, arrow, second = ends.partition(">")
    there = fnmatchcase(way.source, first) and fnmatchcase(way.target, second)
    return not ends or (bool(arrow) and there)
