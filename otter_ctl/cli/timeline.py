"""`otterctl timeline`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from net.links.words import host_text, link_text
from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    force_option,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json,
    run,
)
from otter_ctl.cli.saying import say

_FEW = click.IntRange(0, 1000)
_DONE = {
    "waiting": "waits for all modules to be ready",
    "running": "plays",
    "paused": "is paused",
    "held": "is held at 0 until it is started",
}


@click.group(
    epilog="""\b
Examples:
  otterctl timeline show
  otterctl timeline pause && otterctl timeline start
  otterctl timeline reset                           # back to 0, held there until `start`
"""
)
def command() -> None:
    """Show, start, pause or reset what changes by itself: events and traces.

    A mesh's timeline starts by itself, at its epoch: the moment when all its modules are ready.
    """


@command.command(
    epilog="""\b
Examples:
  otterctl timeline show
  otterctl timeline show --last 1000 --json | jq '.lateness'
"""
)
@mesh_option
@click.option(
    "--last", type=_FEW, default=5, show_default=True, metavar="N", help="Changes made last."
)
@click.option(
    "--next", "following", type=_FEW, default=5, show_default=True, metavar="N",
    help="Changes to come.",
)  # fmt: skip
@json_option
@pass_session
def show(session: Session, mesh: str | None, last: int, following: int, as_json: bool) -> None:
    """Show where it stands, what comes next, and how late changes were."""

    async def work() -> api.TimelineStatus:
        async with connect(session) as client:
            name = await pick_mesh(client, mesh)
            return await client.timeline(name, last=last, following=following)

    _report(run(work()), as_json=as_json)


def _order(order: api.TimelineOrder, text: str, epilog: str) -> None:
    """The command of an order."""

    @command.command(order, help=text, epilog=epilog)
    @mesh_option
    @force_option
    @json_option
    @pass_session
    def give(session: Session, mesh: str | None, force: bool, as_json: bool) -> None:
        async def work() -> api.TimelineStatus:
            async with connect(session, force=force) as client:
                return await client.order_timeline(await pick_mesh(client, mesh), order)

        _report(run(work()), as_json=as_json, brief=True)


_order(
    "start",
    "Let it go on; before the epoch: now is the epoch.",
    "\b\nExamples:\n  otterctl timeline start\n  otterctl timeline start -m city --json\n",
)
_order(
    "pause",
    "Hold it where it is; links stay as they are.",
    "\b\nExamples:\n  otterctl timeline pause\n",
)
_order(
    "reset",
    "Back to 0, and hold it there: links are as the topology says.",
    "\b\nExamples:\n  otterctl timeline reset && otterctl timeline start\n",
)


def _report(status: api.TimelineStatus, *, as_json: bool, brief: bool = False) -> None:
    if as_json:
        print_json(status)
        return
    what = f"{_some(status.traces, 'trace')}, {_some(status.events, 'event')}"
    where = f"at {status.position_s:.3f} s"
    say(f"mesh {status.mesh}: timeline {_DONE[status.state]}, {where}; {what}")
    if status.problem:
        say(status.problem, fg="red", err=True)
    if brief:
        return
    late = status.lateness
    if late.changes:
        times = (late.mean_s, late.p99_s, late.max_s)
        mean, p99, most = (f"{time * 1000:.1f} ms" for time in times)
        text = (
            f"{late.changes} changes so far, late by {mean} on average, 99% {p99}, at most {most}"
        )
        text += f"; {late.failed} failed" if late.failed else ""
        click.echo(text + (f"; {late.passed} passed over" if late.passed else ""))
    _conditions(status.conditions)
    _table("LAST", status.last)
    _table("NEXT", status.next)


def _conditions(conditions: Sequence[api.ConditionStatus]) -> None:
    from otter_ctl.cli.tables import print_table

    if conditions:
        rows = [
            (
                told.when,
                told.event,
                told.value if not isinstance(told.value, float) else f"{told.value:.6g}",
                "" if told.fired_s is None else f"{told.fired_s:.3f} s",
                told.fired or "",
            )
            for told in conditions
        ]
        print_table(("WHEN", "THEN", "NOW", "HAPPENED", "TIMES"), rows)


def _some(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _table(title: str, changes: Sequence[api.TimelineChange]) -> None:
    from otter_ctl.cli.tables import print_table

    if changes:
        print_table(
            (title, "WHAT", "THEN DIFFERS BY", "LATE"),
            [
                (
                    f"{change.at_s:.3f} s",
                    change.host
                    or change.module
                    or f"{change.link}:{change.source}>{change.target}",
                    change.error or _text(change.change),
                    _late(change),
                )
                for change in changes
            ],
        )


def _text(change: Mapping[str, Any]) -> str:
    """`delay 20ms`, `cpu 0.5, paused`; what a module was told to be stands last."""
    words = (link_text(change), host_text(change), change.get("run", ""))
    return ", ".join(filter(None, words)) or "nothing"


def _late(change: api.TimelineChange) -> str:
    if change.applied_s is None:
        return "failed" if change.error else ""
    return f"{(change.applied_s - change.at_s) * 1000:.1f} ms"
