"""What a picture shows; also the data of `otterctl graph --json`. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChangeKind = Literal["", "create", "update", "replace", "remove"]
"""What a plan does to it; empty: nothing, or there is no plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module in a host's box.

    Attributes:
        what: What it runs: its build folder's name, its image, or its command's.
        state: In a running mesh.
        count: How many modules this one stands for.
    """

    name: str
    what: str = ""
    cpu: float | None = None
    memory_bytes: int | None = None
    state: str = ""
    change: ChangeKind = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A box.

    Attributes:
        name: Unique in the picture; `client-1…client-100` where it stands for several hosts.
        profile: The device that it is like.
        machine: That carries it, if it isn't this one.
        gateway: Whether the outside world is behind it.
        count: How many hosts it stands for.
    """

    name: str
    cpu: float | None = None
    memory_bytes: int | None = None
    profile: str = ""
    machine: str = ""
    gateway: bool = False
    modules: tuple[Module, ...] = ()
    change: ChangeKind = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A line between two boxes.

    Attributes:
        forward: What is asked from `a` to `b`, as fields of LinkSpec.
        reverse: What is asked from `b` to `a`; None: it carries one way.
        count: How many links it stands for.
    """

    name: str
    a: str
    b: str
    forward: dict[str, float | int]
    reverse: dict[str, float | int] | None = None
    change: ChangeKind = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An arrow between two modules; `source` and `target` are their names in the picture."""

    source: str
    output: str
    target: str
    input: str
    transport: str
    change: ChangeKind = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything that is drawn, in the order of the file.

    Attributes:
        kind: Whether it shows a topology as written, a plan's changes, or a mesh that runs.
        state: Of a mesh that runs.
    """

    name: str
    kind: Literal["topology", "plan", "mesh"]
    state: str = ""
    hosts: tuple[Host, ...]
    links: tuple[Link, ...] = ()
    streams: tuple[Stream, ...] = ()

    @property
    def summary(self) -> str:
        """`2 hosts, 1 link, 2 modules, 1 stream`; folded ones count in full."""
        counts = {
            "host": sum(h.count for h in self.hosts),
            "link": sum(x.count for x in self.links),
            "module": sum(m.count for h in self.hosts for m in h.modules),
            "stream": sum(s.count for s in self.streams),
        }
        return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for word, n in counts.items() if n)
