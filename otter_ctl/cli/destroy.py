"""`otterctl destroy`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from net.errors import OtterError
from otter_agent import api
from otter_ctl import rollout
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.agents import anybody, everybody
from otter_ctl.cli.common import (
    force_option,
    json_option,
    mesh_option,
    only_mesh,
    pass_session,
    print_json,
    run,
)
from otter_ctl.cli.links import show_doubts
from otter_ctl.cli.progress import Progress
from otter_ctl.cli.saying import say
from otter_ctl.cli.transfers import bring_all
from otter_ctl.concerns import things
from otter_ctl.errors import RemoteError
from otter_ctl.runs import RunFolder
from otter_ctl.spread import Fleet

_UNKNOWN = (
    "this machine's agent doesn't run: whether it left meshes isn't known here;"
    " without --dry-run it is started, and removes them, too"
)


@dataclass(frozen=True, slots=True)
class How:
    """What the options say."""

    yes: bool = False
    no_fetch: bool = False
    discard: bool = False
    force: bool = False
    quiet: bool = False
    dry_run: bool = False


@click.command(
    epilog="""\b
Examples:
  otterctl destroy
  otterctl destroy -m lab --yes --no-fetch
  otterctl destroy --all --yes
  otterctl destroy --all --dry-run
"""
)
@mesh_option
@click.option("--all", "all_", is_flag=True, help="All meshes that are yours.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask (it only asks on a terminal).")
@click.option("--no-fetch", is_flag=True, help="Leave logs and outputs behind, to be removed.")
@click.option("-n", "--dry-run", is_flag=True, help="Remove nothing: only say what would be.")
@click.option("--discard", is_flag=True, help="Go on though not everything could be fetched.")
@force_option
@json_option
@pass_session
def command(
    session: Session,
    mesh: str | None,
    all_: bool,
    yes: bool,
    no_fetch: bool,
    dry_run: bool,
    discard: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Fetch logs and outputs into the run folder, then remove everything else of a mesh.

    A mesh of somebody else is left alone without --force, with --all too.
    """
    if all_ and mesh is not None:
        raise click.UsageError("--all means every mesh: don't name one")
    if session.agent.ran_before and not session.agent.answers():
        # One that was killed may have left a mesh: only an agent removes it.
        if dry_run:
            say(_UNKNOWN, err=True)
        else:
            session.agent.start()
    how = How(yes, no_fetch, discard, force, as_json, dry_run)
    there = anybody(session)
    if dry_run:
        return run(_rehearsed(session, mesh, how, every=all_)) if there else _say_gone([], how)
    if all_:
        return run(_all(session, how)) if there else _say_all([], as_json=as_json)
    name, folder = run(_one(session, mesh, how)) if there or mesh is None else (mesh, None)
    if as_json:
        print_json(_document(name, folder))
    else:
        _say(name, folder)
    return 0


async def _rehearsed(session: Session, mesh: str | None, how: How, *, every: bool) -> int:
    """Say what would be removed."""
    async with everybody(session, force=how.force) as client:
        meshes = await client.meshes()
        if not every:
            name = only_mesh(meshes) if mesh is None else mesh
            meshes = [m for m in meshes if m.mesh == name]
            _check_mine(client.machine, meshes, how)
        taken = [m for m in meshes if m.mine or how.force]
        _leave([m for m in meshes if m not in taken])
        return _say_gone([await client.mesh(m.mesh) for m in taken], how)


def _say_gone(meshes: Sequence[api.MeshStatus], how: How) -> int:
    if how.quiet:
        print_json([_whole(one) for one in meshes])
        return 0
    for one in meshes:
        what = things([h.name for h in one.hosts], [m.name for m in one.modules]) or "nothing"
        where = ", ".join(machine.name for machine in one.machines)
        fetched = "" if how.no_fetch else "; its logs and outputs would be fetched before"
        say(f"would destroy mesh {one.mesh} on {where}: {what}{fetched}")
    if not meshes:
        click.echo("no mesh to destroy", err=True)
    return 0


def _whole(one: api.MeshStatus) -> dict[str, object]:
    return {
        "mesh": one.mesh,
        "dry_run": True,
        "machines": [machine.name for machine in one.machines],
        "hosts": [host.name for host in one.hosts],
        "modules": [module.name for module in one.modules],
    }


async def _one(session: Session, mesh: str | None, how: How) -> tuple[str, RunFolder | None]:
    async with everybody(session, force=how.force) as client:
        meshes = await client.meshes()
        name = only_mesh(meshes) if mesh is None else mesh
        summary = next((m for m in meshes if m.mesh == name), None)
        if summary is None:
            return name, None
        _check_mine(client.machine, [summary], how)
        _ask(how, f"destroy mesh {name} with its {summary.modules} modules?")
        return name, await remove(session, client, name, how)


async def _all(session: Session, how: How) -> int:
    """Every mesh, one after the other; one that can't be removed keeps none of the others."""
    done: list[tuple[str, RunFolder | None]] = []
    failed = False
    async with everybody(session, force=how.force) as client:
        meshes = await client.meshes()
        names = list(dict.fromkeys(m.mesh for m in meshes if m.mine or how.force))
        _leave([m for m in meshes if m.mesh not in names])
        if names:
            _ask(how, f"destroy {len(names)} meshes ({', '.join(names)})?")
        for name in names:
            try:
                done.append((name, await remove(session, client, name, how)))
            except (OtterError, OSError) as error:
                say(f"otterctl: {error}", fg="red", err=True)
                failed = True
    return _say_all(done, as_json=how.quiet) or (EXIT_FAILED if failed else 0)


async def remove(session: Session, client: Fleet, name: str, how: How) -> RunFolder | None:
    """Fetch what a mesh has made, and remove it; its run folder, or None: there was none."""
    status = await client.find_mesh(name)
    if status is None:
        return None
    folder = RunFolder.of(session.runs, status.spec)
    show_doubts(status.fidelity)
    if not how.no_fetch and status.state != "destroying":
        await bring_all(client, status, folder, discard=how.discard, quiet=how.quiet)
    with Progress([m.name for m in status.modules], quiet=how.quiet) as progress:
        await rollout.destroy(client, name, progress)
    return folder


def _check_mine(machine: str, named: Sequence[api.MeshSummary], how: How) -> None:
    for one in named:
        if not (one.mine or how.force):
            text = f"mesh {one.mesh} belongs to {one.owner}"
            raise RemoteError(machine, text, hint="ask them; --force does it all the same")


def _ask(how: How, question: str) -> None:
    if not how.yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)


def _leave(others: list[api.MeshSummary]) -> None:
    for mesh in others:
        text = f"mesh {mesh.mesh} belongs to {mesh.owner}: left alone (--force takes it as well)"
        say(text, err=True)


def _document(name: str, folder: RunFolder | None) -> dict[str, str | None]:
    return {"mesh": name, "folder": str(folder.path) if folder else None}


def _say(name: str, folder: RunFolder | None) -> None:
    if folder is None:
        say(f"mesh {name}: there is none")
    else:
        say(f"mesh {name}: destroyed; run folder {folder.path}")


def _say_all(done: list[tuple[str, RunFolder | None]], *, as_json: bool) -> int:
    if as_json:
        print_json([_document(*one) for one in done])
        return 0
    for one in done:
        _say(*one)
    if not done:
        click.echo("no mesh to destroy", err=True)
    return 0
