"""What a machine keeps beyond meshes (images, volumes, what was fetched), listed or removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import click

from otter_agent import api
from otter_ctl.cli.common import print_json
from otter_ctl.cli.saying import say
from otter_ctl.cli.times import local
from otter_ctl.fetching import about


class Kept(Protocol):
    """One thing."""

    @property
    def size_bytes(self) -> int:
        """On the disk."""

    @property
    def created(self) -> float:
        """Seconds since 1970."""

    @property
    def used_by(self) -> tuple[str, ...]:
        """`mesh/module` names."""


K = TypeVar("K", bound=Kept)


def show_kept(
    things: Sequence[K], columns: dict[str, Callable[[K], str]], *, as_json: bool
) -> None:
    """List things.

    Args:
        things: All of one kind.
        columns: Heads of the first ones -> what stands there.
        as_json: For programs.
    """
    if as_json:
        print_json(things)
        return
    from otter_ctl.cli.tables import print_table

    rows = [
        (
            *(text(thing) for text in columns.values()),
            about(thing.size_bytes),
            local(thing.created, "%Y-%m-%d %H:%M"),
            ", ".join(thing.used_by),
        )
        for thing in things
    ]
    print_table((*columns, "SIZE", "MADE", "USED BY"), rows)


def show_removed(pruned: api.Pruned, *, as_json: bool) -> None:
    """Say what was removed, or would be."""
    if as_json:
        print_json(pruned)
        return
    would = "would remove" if pruned.dry_run else "removed"
    for item in pruned.items:
        say(f"{would} {item.reference} ({item.kind}, {about(item.size_bytes)})")
    total = about(pruned.freed_bytes)
    done = f"would be removed, about {total} freed" if pruned.dry_run else f"removed, {total} freed"
    click.echo(f"{len(pruned.items)} {done}", err=True)
