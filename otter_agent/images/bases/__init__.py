"""The shared bases that modules are built on, as `bases.toml` beside this file describes them.

Used by both image stores: docker makes a base image from one, the process runtime a base virtual
environment. Must not know: Docker, pip, which modules there are.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from otter_agent.errors import ImageError

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Base:
    """One shared base.

    Attributes:
        name: What `base = "…"` in a topology says.
        requirements: pip requirements that every module on this base can import.
        root: Image that the base image starts from.
        python: Version of the interpreter in `root`, e.g. ``3.11``.
        index: Environment variable that may name another package index, "" for none.
    """

    name: str
    requirements: tuple[str, ...]
    root: str
    python: str
    index: str = ""


@cache
def bases() -> dict[str, Base]:
    """All bases by name."""
    with (FOLDER / "bases.toml").open("rb") as file:
        tables = tomllib.load(file)
    return {
        name: Base(
            name=name,
            requirements=tuple(table["requirements"]),
            root=table["root"],
            python=table["python"],
            index=table.get("index", ""),
        )
        for name, table in tables.items()
    }


def find_base(name: str) -> Base:
    """The base of that name.

    Raises:
        ImageError: There is none; the message lists those there are.
    """
    known = bases()
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    raise ImageError(
        "images", "find the base", name, "unknown base",
        hint=f"{guess}known bases: {', '.join(known)}",
    )  # fmt: skip
