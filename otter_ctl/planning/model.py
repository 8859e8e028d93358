"""What planning takes and gives. Pure data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from net.links.traces.generate import Recipe
from net.links.traces.trace import Trace
from otter_agent.api import MeshSpec
from otter_ctl.planning.hosting import Hosting
from otter_ctl.planning.placement import Placement
from otter_ctl.planning.prediction import Forecast
from otter_ctl.topology.model import Expansion

Content = Callable[[], bytes | Iterator[bytes]]
"""Gives what is to be sent: all of it, or piece by piece."""
Upload = Path | Trace | Recipe
"""What becomes a blob: a build folder or file, or a trace that was read or is to be drawn."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Something that an agent needs a copy of, named by its content.

    Attributes:
        digest: SHA-256, hex.
        size_bytes: Of the content.
        read: Gives the content; called only if an agent lacks it.
        executable: Whether its owner may execute it (files only).
    """

    digest: str
    size_bytes: int
    read: Content
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A topology resolved: complete before anything starts.

    Attributes:
        spec: What the agent has to make true.
        warnings: One line each, for stderr: what is asked for and not made scarce yet.
        unsupported: One line each: what this version can't do at all. `apply` refuses.
        expansion: What counts and globs of the topology made.
        machines: Host -> the machine that carries it.
        hosting: The same, to be asked why; None: nobody was asked.
        placement: Where modules are, to be asked why.
        forecast: What streams and links are expected to see.
        speeds: Hosts with cores of a speed, a line each: what these are of their machines'.
        crowding: Links on which packets wait for each other's jitter, a line each.
    """

    spec: MeshSpec
    warnings: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    expansion: tuple[Expansion, ...] = ()
    machines: Mapping[str, str] = field(default_factory=dict)
    hosting: Hosting | None = None
    placement: Placement | None = None
    forecast: Forecast = field(default_factory=Forecast)
    speeds: tuple[str, ...] = ()
    crowding: tuple[str, ...] = ()
