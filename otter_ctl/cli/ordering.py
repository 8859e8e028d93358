"""What `start`, `stop` and `restart` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_module,
    force_option,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json,
    run,
)
from otter_ctl.cli.logs import printable
from otter_ctl.cli.progress import Progress
from otter_ctl.cli.saying import say
from otter_ctl.orders import REACHES, give, select

_DONE = {"start": "started", "stop": "stopped", "restart": "restarted"}


def verb(order: api.Order, text: str, epilog: str) -> click.Command:
    """The command of an order; `text` is its help."""

    @click.argument("modules", nargs=-1, metavar="[MODULE]...", shell_complete=complete_module)
    @click.option("--all", "all_", is_flag=True, help="All modules of the mesh.")
    @mesh_option
    @click.option("--no-wait", is_flag=True, help="Return as soon as the agent has the order.")
    @force_option
    @json_option
    @pass_session
    def command(
        session: Session,
        modules: tuple[str, ...],
        all_: bool,
        mesh: str | None,
        no_wait: bool,
        force: bool,
        as_json: bool,
    ) -> int:
        check_named(modules, all_=all_)

        async def work() -> tuple[str, list[api.ModuleStatus]]:
            async with connect(session, force=force) as client:
                name = await pick_mesh(client, mesh)
                known = [m.name for m in await client.modules(name)]
                chosen = select(known, modules, all_=all_, mesh=name)
                with Progress(chosen, quiet=as_json) as progress:
                    return name, await give(client, name, chosen, order, progress, wait=not no_wait)

        name, found = run(work())
        return _report(name, order, found, as_json=as_json, waited=not no_wait)

    made: Callable[[Callable[..., int]], click.Command] = click.command(
        order, help=text, epilog=epilog
    )
    return made(command)


def check_named(modules: Sequence[str], *, all_: bool) -> None:
    """Modules are named, or all are meant: one of the two."""
    if bool(modules) == all_:
        raise click.UsageError("name modules (globs work: 'client-*'), or say --all")


def _report(
    mesh: str, order: api.Order, found: Sequence[api.ModuleStatus], *, as_json: bool, waited: bool
) -> int:
    missed = [m for m in found if waited and m.state not in REACHES[order]]
    if as_json:
        print_json({"mesh": mesh, "order": order, "modules": found})
        return EXIT_FAILED if missed else 0
    if not waited:
        say(f"mesh {mesh}: {order} of {len(found)} modules handed to the agent")
        return 0
    for module in missed:
        say_missed(module)
    say(f"mesh {mesh}: {len(found) - len(missed)} of {len(found)} modules {_DONE[order]}")
    return EXIT_FAILED if missed else 0


def say_missed(module: api.ModuleStatus) -> None:
    """Why a module isn't where it was to be, on stderr."""
    say(f"{module.name}: {module.state}: {module.reason}".rstrip(": "), fg="red", err=True)
    for line in module.log_tail:
        click.echo(f"  | {printable(line)}", err=True)
