"""The shared bases that modules are built on, as `bases.toml` beside this file describes them.

Used by both image stores: docker makes a base image from one, the process runtime a base virtual
environment. Must not know: Docker, pip, which modules there are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from otter_agent.errors import ImageError
from otter_agent.images.kinds import CPU, kind_of

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Base:
    """One shared base, on one kind of machine.

    Attributes:
        name: What `base = "…"` in a topology says.
        requirements: pip requirements that every module on this base can import.
        root: Image that the base image starts from.
        python: Version of the interpreter in `root`, e.g. ``3.11``.
        kind: Of machines that it is for.
        env: Variables of its containers.
    """

    name: str
    requirements: tuple[str, ...]
    root: str
    python: str
    kind: str = "cpu-amd64"
    env: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def accelerator(self) -> str:
        """What machines of its kind have."""
        return self.kind.partition("-")[0]


@cache
def _tables() -> dict[str, dict[str, Any]]:
    with (FOLDER / "bases.toml").open("rb") as file:
        return tomllib.load(file)


def kinds() -> tuple[str, ...]:
    """The kinds of machines that bases are for."""
    return tuple(_tables()["roots"])


def find_base(name: str, kind: str = "") -> Base:
    """The base of that name, for one kind of machine.

    Args:
        name: As a topology says it.
        kind: This machine's, without its accelerators, if left out.

    Raises:
        ImageError: There is none; the message lists those there are.
    """
    known, roots = _tables()["bases"], _tables()["roots"]
    kind = kind or kind_of("")
    if name not in known:
        near = get_close_matches(name, known, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        raise ImageError(
            "images", "find the base", name, "unknown base",
            hint=f"{guess}known bases: {', '.join(known)}",
        )  # fmt: skip
    # Python's own images are there for many architectures, whatever the file has of them.
    root = roots.get(kind) or (roots["cpu-amd64"] if kind.startswith(CPU) else None)
    if root is None:
        raise ImageError(
            "images", "find the base", name, f"there is none for machines of kind {kind}",
            hint=f"there are some for {', '.join(roots)}; give the module a Dockerfile of its own",
        )  # fmt: skip
    return Base(
        name=name, requirements=_packages(name, kind.partition("-")[0]), root=root["image"],
        python=root["python"], kind=kind, env=root.get("env", {}),
    )  # fmt: skip


def base_of_processes(name: str, accelerator: str = CPU) -> Base:
    """The base of that name for processes: its packages alone, as their root is the machine's own.

    Args:
        name: As a topology says it.
        accelerator: What the module is made for.

    Raises:
        ImageError: There is none; the message lists those there are.
    """
    return replace(find_base(name), requirements=_packages(name, accelerator))


def _packages(name: str, accelerator: str) -> tuple[str, ...]:
    table = _tables()["bases"][name]
    return tuple(table.get(accelerator, table["requirements"]))
