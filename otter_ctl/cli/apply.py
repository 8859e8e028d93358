"""`otterctl apply`."""

from __future__ import annotations

from pathlib import Path

import click

from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.budgets import budgets_by_hand
from otter_ctl.cli.common import (
    ask,
    json_option,
    pass_session,
    print_json,
    set_option,
    without_option,
)
from otter_ctl.cli.links import warnings
from otter_ctl.cli.making import How, made
from otter_ctl.cli.saying import say
from otter_ctl.cli.status import show_failures
from otter_ctl.cli.words import overcommitted
from otter_ctl.deploy import SETTLED, Prepared
from otter_ctl.meshes import Meshes
from otter_ctl.runs import RunFolder


def _not_here(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        raise click.UsageError("no option '--dry-run': otterctl plan FILE shows what would change")


@click.command(
    epilog="""\b
Examples:
  otterctl apply topology.toml
  otterctl apply topology.toml --set modules.asr.cpu=0.5
  otterctl apply topology.toml --no-wait && otterctl wait --all
  otterctl apply topology.toml --without lab2   # lab2 gives no answer: go on elsewhere
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@set_option
@click.option("--no-wait", is_flag=True, help="Return as soon as the agent has the plan.")
@click.option(
    "--force",
    is_flag=True,
    help="Also if the mesh is somebody else's, or was changed since this was planned.",
)
@click.option(
    "--verify", "verified", is_flag=True,
    help="Measure all links then, as `verify --quick`; exit with 1 if any is out of tolerance.",
)  # fmt: skip
@click.option(
    "--keep-partial", is_flag=True,
    help="Where a machine fails, let the others keep their parts instead of going back; machines "
    "that the mesh leaves keep theirs, too.",
)  # fmt: skip
@click.option(
    "--measure", is_flag=True,
    help="Measure the network between machines again; it is measured once, else.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, hidden=True, expose_value=False, is_eager=True,
              callback=_not_here)  # fmt: skip
@without_option
@json_option
@pass_session
def command(
    session: Session,
    file: Path,
    overrides: tuple[str, ...],
    no_wait: bool,
    force: bool,
    keep_partial: bool,
    measure: bool,
    verified: bool,
    without: tuple[str, ...],
    as_json: bool,
) -> int:
    """Make a topology real: start what is missing, change what differs, remove what is gone.

    Returns when every module is ready (or done); exits with 1 if one failed. Applying the same
    file again changes nothing but to start what was stopped. Starts an agent if none answers.
    """
    if verified and no_wait:
        raise click.UsageError("--verify measures what is ready, --no-wait doesn't wait: pick one")
    how = How(
        wait=not no_wait, force=force, keep_partial=keep_partial, measure=measure, without=without,
        quiet=as_json,
    )  # fmt: skip
    prepared, status = made(session, file, overrides, how)
    code = _report(session, prepared, status, as_json=as_json, waited=not no_wait)
    return code or (_verify(session, status.mesh, as_json=as_json) if verified else 0)


def _verify(session: Session, mesh: str, *, as_json: bool) -> int:
    """Measure what was made; it stays, whatever comes of it."""
    from otter_ctl.cli.certificate import measured, show, verdict

    request = api.VerifyRequest(effort="quick", cpu=False)

    async def question(client: Meshes) -> list[api.VerifyRow]:
        return await measured(client, mesh, request, quiet=as_json)

    rows = ask(session, question)
    if not as_json:
        show(rows)
    say(verdict(rows), err=True)
    return 0 if all(row.ok for row in rows) else EXIT_FAILED


def show_notes(status: api.MeshStatus) -> None:
    """What is worth knowing of a mesh that is there."""
    for line in (*warnings(status.links), *budgets_by_hand(status)):
        say(line, fg="yellow", err=True)
    if status.overcommit:
        say(overcommitted(status.overcommit), fg="yellow", err=True)


def show_bad(status: api.MeshStatus) -> int:
    """What is wrong with a mesh and its modules, with the last lines of their logs; of how many."""
    if status.problem:
        say(status.problem, fg="red", err=True)
    bad = [m for m in status.modules if m.state not in SETTLED or m.reason]
    show_failures(status, err=True)
    for module in bad:
        say(f"{module.name}: {module.state}: {module.reason}", fg="red", err=True)
    return len(bad)


def _report(
    session: Session, prepared: Prepared, status: api.MeshStatus, *, as_json: bool, waited: bool
) -> int:
    good = not waited or status.state == "ready"
    if as_json:
        print_json(status)
        return 0 if good else EXIT_FAILED
    show_notes(status)
    folder = RunFolder.of(session.runs, status.spec).path
    if prepared.nothing_to_do:
        say(f"mesh {status.mesh}: nothing to change, {len(status.modules)} modules ready")
        return 0
    if good:
        what = f"{len(status.modules)} modules ready" if waited else "handed to the agent"
        say(f"mesh {status.mesh}: {what}; run folder {folder}")
        return 0
    bad = show_bad(status)
    say(
        f"otterctl: mesh {status.mesh}: {bad} of {len(status.modules)} modules are not as "
        "asked; `otterctl logs`, mend, apply again, or `otterctl destroy`",
        err=True,
    )
    return EXIT_FAILED
