"""What the prober's process is told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.api.base import Data
from otter_agent.errors import AgentError


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


def chosen(spec: api.MeshSpec, patterns: Sequence[str]) -> list[tuple[api.Link, str, str]]:
    """The directions that patterns stand for, each once: (link, from, to).

    Raises:
        AgentError: A pattern stands for nothing (`not-found`).
    """
    every = [
        (link, a, b)
        for link in spec.links
        for a, b, asked in ((link.a, link.b, link.forward), (link.b, link.a, link.reverse))
        if asked is not None
    ]
    if not patterns:
        return every
    found: set[int] = set()
    for pattern in patterns:
        hits = {i for i, direction in enumerate(every) if _fits(direction, pattern)}
        if not hits:
            known = ", ".join(link.name for link in spec.links[:20]) or "none"
            raise AgentError(
                "not-found", f"no link {pattern!r} in mesh {spec.name}", hint=f"there are: {known}"
            )
        found |= hits
    return [every[i] for i in sorted(found)]


def _fits(direction: tuple[api.Link, str, str], pattern: str) -> bool:
    link, source, target = direction
    name, _, ends = pattern.partition(":")
    if not fnmatchcase(link.name, name):
        return False
    first, arrow, second = ends.partition(">")
    return not ends or (bool(arrow) and fnmatchcase(source, first) and fnmatchcase(target, second))
