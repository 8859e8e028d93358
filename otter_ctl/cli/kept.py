"""What machines keep beyond meshes (images, volumes, what was fetched), listed or removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    found: Mapping[str, Sequence[K]],
    columns: dict[str, Callable[[K], str]],
    *,
    on: str | None,
    as_json: bool,
) -> None:
    """List things.

    Args:
        found: Machine -> all of one kind there.
        columns: Heads of the first ones -> what stands there.
        on: What `--on` says; None: they are this machine's, which isn't named then.
        as_json: For programs.
    """
    if as_json:
        print_json(by_machine(found) if on is not None else next(iter(found.values())))
        return
    from otter_ctl.cli.tables import print_table

    rows = [
        (
            *((machine,) if on is not None else ()),
            *(text(thing) for text in columns.values()),
            about(thing.size_bytes),
            local(thing.created, "%Y-%m-%d %H:%M"),
            ", ".join(thing.used_by),
        )
        for machine, things in sorted(found.items())
        for thing in things
    ]
    first = ("MACHINE",) if on is not None else ()
    print_table((*first, *columns, "SIZE", "MADE", "USED BY"), rows)


def by_machine(found: Mapping[str, Sequence[object]]) -> list[dict[str, object]]:
    """For programs: all things of all machines, each with its `machine`."""
    return [
        {"machine": machine, **api.to_builtins(thing)}
        for machine, things in sorted(found.items())
        for thing in things
    ]


def show_removed(
    found: Mapping[str, api.Pruned], *, dry_run: bool, on: str | None, as_json: bool
) -> None:
    """Say what was removed, or would be: by machine, as `show_kept`; maybe nobody answered."""
    if as_json:
        answers = {machine: [pruned] for machine, pruned in found.items()}
        print_json(by_machine(answers) if on is not None else next(iter(found.values())))
        return
    would = "would remove" if dry_run else "removed"
    for machine, pruned in sorted(found.items()):
        there = f" on {machine}" if on is not None else ""
        for item in pruned.items:
            say(f"{would} {item.reference} ({item.kind}, {about(item.size_bytes)}){there}")
    total = about(sum(pruned.freed_bytes for pruned in found.values()))
    done = f"would be removed, about {total} freed" if dry_run else f"removed, {total} freed"
    click.echo(f"{sum(len(pruned.items) for pruned in found.values())} {done}", err=True)
