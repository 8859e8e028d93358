"""What a topology file says, in SI units, names checked, paths absolute. Pure data.

Nothing is placed or addressed yet: that is the plan's. Must not know: TOML, files, agents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from net.links.spec import LinkSpec

NAME_LIMIT = 63
"""Characters of a name: it becomes a DNS label."""
MESH_NAME_LIMIT = 40
"""Shorter: a mesh's name is joined with a host's into namespace and cgroup names."""

RuntimeChoice = Literal["docker", "process", "fake"]
RestartChoice = Literal["no", "on-failure", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """An emulated host.

    Attributes:
        cpu: Cores for all its modules together; None: unlimited.
        memory_bytes: For all its modules together; None: unlimited.
    """

    name: str
    cpu: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Joins two hosts.

    Attributes:
        forward: What is asked from `a` to `b`.
        reverse: What is asked from `b` to `a`; None: written with `from`/`to`, carries one way.
    """

    name: str
    a: str
    b: str
    forward: LinkSpec
    reverse: LinkSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file copied into a module: `target` is relative to its work folder."""

    target: str
    source: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """When a module counts as ready: exactly one of `tcp`, `command`, `sdk`."""

    tcp: int | None = None
    command: tuple[str, ...] | None = None
    sdk: bool = False
    within_s: float | None = None
    """None: the planner's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One AI workload; exactly one of `build`, `image`, `command` alone says what it runs.

    Attributes:
        host: None: the planner places it.
        build: Folder with module.py or a Dockerfile, absolute.
        base: Shared base that `build` is built on.
        runtime: None: the machine's default.
        ready: None: as the planner sees fit.
    """

    name: str
    host: str | None = None
    build: Path | None = None
    base: str = "python"
    image: str | None = None
    command: tuple[str, ...] | None = None
    runtime: RuntimeChoice | None = None
    cpu: float | None = None
    memory_bytes: int | None = None
    env: dict[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    outputs: tuple[str, ...] = ()
    ready: Ready | None = None
    restart: RestartChoice = "on-failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A data edge from an output of module `source` to an input of module `target`."""

    source: str
    output: str
    target: str
    input: str
    transport: Literal["tcp"] = "tcp"
    queue: int = 16
    """Messages."""
    policy: Literal["block"] = "block"

    @property
    def name(self) -> str:
        """`asr.text>vqa.question`."""
        return f"{self.source}.{self.output}>{self.target}.{self.input}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """One topology file; everything in the order of the file.

    Attributes:
        path: The file; relative paths in it were resolved against its folder.
    """

    path: Path
    name: str
    seed: int = 0
    hosts: tuple[Host, ...]
    links: tuple[Link, ...] = ()
    modules: tuple[Module, ...] = ()
    streams: tuple[Stream, ...] = ()
