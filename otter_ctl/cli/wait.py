"""`otterctl wait`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import click

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_module,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json,
    run,
    time_option,
)
from otter_ctl.cli.ordering import check_named, say_missed
from otter_ctl.cli.progress import Progress
from otter_ctl.errors import RemoteError
from otter_ctl.orders import Goal, select, wait_for


@click.command(
    epilog="""\b
Examples:
  otterctl wait asr                                  # until it is ready
  otterctl wait train --state done --timeout 2h
  otterctl wait --all --state ready --state done
"""
)
@click.argument("modules", nargs=-1, metavar="[MODULE]...", shell_complete=complete_module)
@click.option("--all", "all_", is_flag=True, help="All modules of the mesh.")
@click.option(
    "--state",
    "states",
    multiple=True,
    default=("ready",),
    show_default=True,
    type=click.Choice(get_args(api.ModuleState)),
    help="What to wait for; repeat it for any of several.",
)
@time_option(
    "--timeout",
    "timeout_s",
    help="Give up after this long, e.g. 60s; else only when it can't be reached any more.",
)
@mesh_option
@json_option
@pass_session
def command(
    session: Session,
    modules: tuple[str, ...],
    all_: bool,
    states: Sequence[str],
    timeout_s: float | None,
    mesh: str | None,
    as_json: bool,
) -> int:
    """Wait until modules are in a state.

    Exits with 0 when all are; with 1 when the time is over, or when one can't get there any more
    by itself (it failed, is done, was stopped), and says why.
    """
    check_named(modules, all_=all_)

    async def work() -> list[api.ModuleStatus]:
        async with connect(session) as client:
            name = await pick_mesh(client, mesh)
            known = [m.name for m in await client.modules(name)]
            chosen = select(known, modules, all_=all_, mesh=name)
            goal = Goal(chosen, frozenset(states), late=True, at_once=True)
            with Progress(chosen, quiet=as_json) as progress:
                try:
                    return await wait_for(client, name, goal, progress, timeout_s)
                except TimeoutError:
                    return [m for m in await client.modules(name) if m.name in chosen]

    found = run(work())
    missed = [m for m in found if m.state not in states]
    if as_json:
        print_json({"reached": not missed, "modules": found})
    for module in missed:
        say_missed(module)
    if missed:
        over = all(not Goal((), frozenset(states), late=True).missed(m) for m in missed)
        why = f"not within {timeout_s:g} s" if over and timeout_s is not None else "not any more"
        text = f"{len(missed)} of {len(found)} modules are not {' or '.join(states)}: {why}"
        raise RemoteError("local", text, hint="otterctl logs, otterctl events")
    return 0
