"""`otterctl verify`."""

from __future__ import annotations

import sys

import click

from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.certificate import Tolerance, measured, show, verdict
from otter_ctl.cli.common import (
    complete_link,
    force_option,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json,
    run,
)
from otter_ctl.cli.links import show_doubts
from otter_ctl.cli.saying import say


@click.command(
    epilog="""\b
Examples:
  otterctl verify
  otterctl verify radio --direction 'phone>edge' --thorough
  otterctl verify --quick --tolerance delay=1ms,5% --tolerance rate=5%
  otterctl verify --json | jq '.[] | select(.ok | not)'
"""
)
@click.argument("links", nargs=-1, metavar="[LINK]...", shell_complete=complete_link)
@mesh_option
@click.option(
    "--direction", metavar="FROM>TO", help="Only this direction of the links; hosts may be globs."
)
@click.option(
    "--quick", "effort", flag_value="quick", help="About 3 s per eight directions, wide intervals."
)
@click.option(
    "--thorough", "effort", flag_value="thorough", help="About a minute per eight directions."
)
@click.option(
    "--tolerance", "tolerances", multiple=True, type=Tolerance(), metavar="PROPERTY=VALUE",
    help="How far off is still right: delay=1ms, rate=5%, or both, the larger counts. Repeatable.",
)  # fmt: skip
@click.option("--no-cpu", is_flag=True, help="Leave out the hosts' computing.")
@force_option
@json_option
@pass_session
def command(
    session: Session,
    links: tuple[str, ...],
    mesh: str | None,
    direction: str | None,
    effort: api.Effort | None,
    tolerances: tuple[tuple[str, api.VerifyTolerance], ...],
    no_cpu: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Measure every link in both directions, and computing; say whether that is what was asked.

    LINK is a name or a glob (none: all links, and the hosts), or NAME:FROM>TO. Exits with 1 if
    anything is out of tolerance. It sends packets across the links, beside those of the modules.
    """
    request = api.VerifyRequest(
        links=_patterns(links, direction),
        effort=effort or "normal",
        tolerances=dict(tolerances),
        cpu=not no_cpu,
    )

    async def work() -> tuple[list[api.VerifyRow], api.Fidelity]:
        async with connect(session, force=force) as client:
            name = await pick_mesh(client, mesh)
            rows = await measured(client, name, request, quiet=as_json)
            return rows, (await client.mesh(name)).fidelity

    rows, fidelity = run(work())
    show_doubts(fidelity)
    if as_json:
        print_json(rows)
    else:
        show(rows)
        sys.stdout.flush()
        say(verdict(rows), err=True)
    return 0 if all(row.ok for row in rows) else EXIT_FAILED


def _patterns(links: tuple[str, ...], direction: str | None) -> tuple[str, ...]:
    if direction is None:
        return links
    if ">" not in direction or any(":" in link for link in links):
        raise click.UsageError("--direction is FROM>TO, and goes with names of links alone")
    return tuple(f"{link}:{direction}" for link in links or ("*",))
