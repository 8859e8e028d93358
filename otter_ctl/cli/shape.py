"""`otterctl shape`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from net.units import format_duration
from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.budgets import (
    by_kind,
    dry_option,
    duration,
    host,
    module,
    show_budgets,
)
from otter_ctl.cli.common import (
    ask,
    complete_cell,
    complete_link,
    force_option,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json,
    run,
)
from otter_ctl.cli.links import show_links
from otter_ctl.cli.saying import say
from otter_ctl.meshes import Meshes
from otter_ctl.shaping import cell_changes, chosen, chosen_anything, chosen_cells
from otter_ctl.topology.properties import KEYS, read_text
from otter_ctl.topology.reader import Bad

_METAVARS = {
    "delay": "TIME", "jitter": "TIME", "rate": "RATE", "queue": "SIZE", "slot": "TIME[,TIME]",
    "jitter_distribution": "NAME", "queue_discipline": "NAME", "overhead": "BYTES",
    "slot_size": "SIZE", "jitter_table": "N,N,…", "loss_gilbert": "P,R[,BAD[,GOOD]]",
    "loss_markov": "P13,P31,P32,P23,P14",
}  # fmt: skip
_SWITCHES = {"up": ("--up/--down", "Cut the link, or put it up again."), "ecn": (
    "--ecn/--no-ecn", "Whether codel and red mark instead of dropping.")}  # fmt: skip


@click.group(
    name="shape",
    epilog="""\b
Examples:
  otterctl shape link radio --delay 50ms            # rate, loss and all else stay
  otterctl shape link radio --direction 'phone>edge' --rate 1mbit --for 30s
  otterctl shape cell gnb1 --uplink 5mbit
  otterctl shape host phone --cpu 0.5
  otterctl shape module asr --memory 1GiB
  otterctl shape show
  otterctl shape reset
""",
)
def command() -> None:
    """Change links, hosts and modules while they run, by hand.

    A change holds over whatever the topology and its timeline say, until it is reset or its time
    is over; it survives the agent.
    """


def _with_properties(
    wrapped: Callable[..., Any], without: tuple[str, ...] = ()
) -> Callable[..., Any]:
    """An option for each property of a link."""
    for key in reversed(KEYS.values()):
        if key.name in without:
            continue
        if key.name in _SWITCHES:
            flags, text = _SWITCHES[key.name]
            wrapped = click.option(flags, key.name, default=None, help=text)(wrapped)
            continue
        wrapped = click.option(
            f"--{key.name.replace('_', '-')}",
            key.name,
            metavar=_METAVARS.get(key.name, "SHARE"),
            help=key.doc,
        )(wrapped)
    return wrapped


_names = click.argument("names", nargs=-1, metavar="[LINK]...", shell_complete=complete_link)
_direction = click.option(
    "--direction", metavar="FROM>TO", default="", help="One way only; hosts may be globs."
)


@command.command(
    name="link",
    epilog="""\b
Examples:
  otterctl shape link radio --delay 50ms --jitter 5ms
  otterctl shape link 'client-*' --loss 10% --for 30s    # reverts by itself
  otterctl shape link radio --direction 'phone>edge' --rate none
  otterctl shape link --down --for 5s                    # every link of the mesh
  otterctl shape link radio --set loss_gilbert=1%,30%
  otterctl shape link radio --delay 2ms --dry-run        # could that be?
""",
)
@_names
@_direction
@_with_properties
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A property by its key in topologies. Repeatable.",
)
@click.option("--for", "for_", metavar="TIME", help="Revert by itself after so long.")
@dry_option
@mesh_option
@force_option
@json_option
@pass_session
def link(
    session: Session,
    /,
    names: tuple[str, ...],
    direction: str,
    settings: tuple[str, ...],
    for_: str | None,
    dry_run: bool,
    mesh: str | None,
    force: bool,
    as_json: bool,
    **properties: Any,
) -> int:
    """Change what is named, and nothing else, of links; of all links if none is named.

    LINK is a name or a glob, or NAME:FROM>TO. Returns once it is in force. `none` as a value takes
    a property away.
    """
    values = _values(properties, settings)
    if not values:
        raise click.UsageError("say what to change, such as --delay 50ms; --help lists it all")
    for_s = None if for_ is None else duration("--for", for_)

    async def work() -> tuple[str, list[api.LinkStatus]]:
        async with connect(session, force=force) as client:
            name = await pick_mesh(client, mesh)
            ways = chosen(await client.links(name), names, direction, name)
            changes = [
                api.LinkChange(
                    link=way.name, direction=f"{way.from_}>{way.to}", set=values, for_s=for_s
                )
                for way in ways
            ]
            return name, await client.shape(name, changes, check=dry_run)

    return _shaped(run(work()), as_json=as_json, dry_run=dry_run, for_s=for_s)


def _with_properties_of_cells(wrapped: Callable[..., Any]) -> Callable[..., Any]:
    return _with_properties(wrapped, without=("rate",))


@command.command(
    name="cell",
    epilog="""\b
Examples:
  otterctl shape cell gnb1 --uplink 5mbit --downlink 50mbit
  otterctl shape cell gnb1 --delay 30ms --for 10s
  otterctl shape cell 'gnb*' --down --for 5s
""",
)
@click.argument("names", nargs=-1, metavar="[CELL]...", shell_complete=complete_cell)
@click.option("--uplink", metavar="RATE", help="The capacity from members to the cell's host.")
@click.option("--downlink", metavar="RATE", help="The capacity from its host to members.")
@_with_properties_of_cells
@click.option("--for", "for_", metavar="TIME", help="Revert by itself after so long.")
@dry_option
@mesh_option
@force_option
@json_option
@pass_session
def cell(
    session: Session,
    /,
    names: tuple[str, ...],
    uplink: str | None,
    downlink: str | None,
    for_: str | None,
    dry_run: bool,
    mesh: str | None,
    force: bool,
    as_json: bool,
    **properties: Any,
) -> int:
    """Change what is named, and nothing else, of cells: of the links of all their members.

    All cells of the mesh if none is named. `otterctl shape reset 'gnb1-*'` undoes it.
    """
    given = {"uplink": uplink, "downlink": downlink}
    capacity = {
        side: _read(f"--{side}", "rate", text)["rate_bps"]
        for side, text in given.items()
        if text is not None
    }
    if None in capacity.values():
        raise click.UsageError("a cell always has a capacity: `none` can't be one")
    values = _values(properties, ())
    if not values and not capacity:
        raise click.UsageError("say what to change, such as --uplink 5mbit; --help lists it all")
    for_s = None if for_ is None else duration("--for", for_)

    async def work() -> tuple[str, list[api.LinkStatus]]:
        async with connect(session, force=force) as client:
            name = await pick_mesh(client, mesh)
            cells = chosen_cells((await client.mesh(name)).cells, names, name)
            changes = list(cell_changes(cells, capacity, values, for_s))
            return name, await client.shape(name, changes, check=dry_run)

    return _shaped(run(work()), as_json=as_json, dry_run=dry_run, for_s=for_s)


_anything = click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_link)


@command.command(
    epilog="""\b
Examples:
  otterctl shape reset                 # all links, hosts and modules
  otterctl shape reset radio --direction 'phone>edge'
  otterctl shape reset phone
""",
)
@_anything
@_direction
@mesh_option
@force_option
@json_option
@pass_session
def reset(
    session: Session,
    names: tuple[str, ...],
    direction: str,
    mesh: str | None,
    force: bool,
    as_json: bool,
) -> int:
    """Undo what was changed by hand: the topology and its timeline hold again.

    NAME is a link, host or module, or a glob: all that have that name.
    """

    async def work() -> tuple[str, list[api.LinkStatus], list[api.BudgetStatus]]:
        async with connect(session, force=force) as client:
            name = await pick_mesh(client, mesh)
            ways, budgets = chosen_anything(
                await client.links(name), await client.budgets(name), names, direction, name
            )
            of_links = [
                api.LinkChange(link=way.name, direction=f"{way.from_}>{way.to}", reset=True)
                for way in ways
            ]
            of_budgets = [
                api.BudgetChange(kind=x.kind, name=x.name, reset=True)
                for x in budgets
                if names or "shape" in x.layers
            ]
            links = await client.shape(name, of_links) if of_links else []
            limits = await client.shape_budgets(name, of_budgets) if of_budgets else []
            return name, links, limits

    name, links, budgets = run(work())
    if as_json:
        print_json({"mesh": name, "links": links, **by_kind(budgets)})
    else:
        _say(name, links, budgets, {"reset": True})
    failed = any(x.error for x in links) or any(x.error for x in budgets)
    return EXIT_FAILED if failed else 0


@command.command(epilog="Example: otterctl shape show radio --json")
@_anything
@mesh_option
@json_option
@pass_session
def show(session: Session, names: tuple[str, ...], mesh: str | None, as_json: bool) -> None:
    """Show what is asked of links, hosts and modules, by whom, and what is in force.

    NAME is a link, host or module, or a glob: all that have that name.
    """

    async def question(
        client: Meshes,
    ) -> tuple[str, list[api.LinkStatus], list[api.BudgetStatus]]:
        name = await pick_mesh(client, mesh)
        found = await client.links(name), await client.budgets(name)
        return name, *chosen_anything(*found, names, "", name)

    name, links, budgets = ask(session, question)
    if as_json:
        print_json({"mesh": name, "links": links, **by_kind(budgets)})
        return
    if links:
        show_links(links)
    show_budgets(budgets)


def _shaped(
    done: tuple[str, list[api.LinkStatus]], *, as_json: bool, dry_run: bool, **change: Any
) -> int:
    """Tell what has changed, or would have; the exit status."""
    name, links = done
    if as_json:
        print_json({"mesh": name, "links": links, **({"dry_run": True} if dry_run else {})})
    elif dry_run:
        say(f"mesh {name}: {_ways(links)} would be changed", err=True)
    else:
        _say(name, links, (), change)
    return EXIT_FAILED if any(link.error for link in links) else 0


def _ways(links: Sequence[api.LinkStatus]) -> str:
    return f"{len(links)} direction{'s' if len(links) != 1 else ''} of links"


def _say(
    mesh: str,
    links: Sequence[api.LinkStatus],
    budgets: Sequence[api.BudgetStatus],
    change: dict[str, Any],
) -> None:
    what = "reset" if change.get("reset") else "changed"
    for_s = change.get("for_s")
    time = f" for {format_duration(for_s)}" if for_s is not None else ""
    counted = [_ways(links)]
    if budgets:
        counted = [*(counted if links else []), f"{len(budgets)} budgets"]
    say(f"mesh {mesh}: {' and '.join(counted)} {what}{time}", err=True)
    if links:
        show_links(links)
    show_budgets(budgets)


def _values(properties: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Field of `LinkSpec` -> value, of all options."""
    values: dict[str, Any] = {}
    for key, given in properties.items():
        if isinstance(given, bool):
            values[key] = given
        elif given is not None:
            values |= _read(f"--{key.replace('_', '-')}", key, given)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: write KEY=VALUE, such as delay=20ms")
        values |= _read(f"--set {setting}", key.strip(), text.strip())
    return values


def _read(option: str, key: str, text: str) -> dict[str, Any]:
    try:
        return read_text(key, text)
    except Bad as bad:
        raise click.UsageError(
            f"{option}: {bad.reason}{'; ' if bad.hint else ''}{bad.hint}"
        ) from None


command.add_command(host)
command.add_command(module)
