"""`otterctl image`."""

from __future__ import annotations

import shlex

import click

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import everybody
from otter_ctl.cli.common import json_option, pass_session, print_json, run, site_option
from otter_ctl.cli.elsewhere import ask_on, complain, on_option
from otter_ctl.cli.kept import show_kept, show_removed
from otter_ctl.cli.saying import say
from otter_ctl.cli.transfers import ByteProgress
from otter_ctl.client import AgentClient
from otter_ctl.sites import site_paths
from otter_ctl.topology.model import LOCAL


@click.group(name="image", epilog="Example: otterctl image prune")
def command() -> None:
    """List or prune the images and environments that OTTER made; send images to machines."""


@command.command(
    name="ls",
    epilog="""\b
Examples:
  otterctl image ls --json
  otterctl image ls --on 'jetson-*'
""",
)
@on_option
@json_option
@pass_session
def list_images(session: Session, on: str | None, as_json: bool) -> None:
    """List them, with who uses them."""

    async def question(client: AgentClient) -> list[api.ImageInfo]:
        return await client.images()

    answers = ask_on(session, on, question)
    columns = {"NAME": lambda image: image.reference, "KIND": lambda image: image.kind}
    show_kept(answers.good, columns, on=on, as_json=as_json)
    images = [image for found in answers.good.values() for image in found]
    if not (as_json or all(image.used_by for image in images)):
        there = f" --on {shlex.quote(on)}" if on is not None else ""
        say(f"what unused ones hold: otterctl image prune --dry-run{there}", err=True)
    complain(answers)


@command.command(
    epilog="""\b
Examples:
  otterctl image prune --dry-run
  otterctl image prune --on 'jetson-*'
  otterctl image prune --json
"""
)
@click.option("-n", "--dry-run", is_flag=True, help="Remove nothing: only say what would be.")
@on_option
@json_option
@pass_session
def prune(session: Session, dry_run: bool, on: str | None, as_json: bool) -> None:
    """Remove those that no mesh uses, with the bases, packages and models that only they need.

    The sizes are what each holds alone, without what it is built on.
    """

    async def question(client: AgentClient) -> api.Pruned:
        return await client.prune(dry_run=dry_run)

    answers = ask_on(session, on, question)
    show_removed(answers.good, dry_run=dry_run, on=on, as_json=as_json)
    complain(answers)


@command.command(
    epilog="""\b
Examples:
  otterctl image send registry.lab/vqa:3 --to jetson-1 --to jetson-2
  otterctl image send otter/module:8c1f3a --from gpu-box --to edge
"""
)
@click.argument("reference")
@click.option("--to", "targets", metavar="MACHINE", multiple=True, required=True,
              help="Who gets it. Repeatable.")  # fmt: skip
@click.option("--from", "source", metavar="MACHINE", default=LOCAL, show_default=True,
              help="Who has it.")  # fmt: skip
@site_option
@json_option
@pass_session
def send(
    session: Session, reference: str, targets: tuple[str, ...], source: str, as_json: bool
) -> int:
    """Send an image of a machine's Docker engine to others: only the layers that they lack.

    What has come stays where this is interrupted, and the next time goes on from there.
    """
    from otter_ctl.images.giving import sent_to  # few verbs need other machines

    if LOCAL in (source, *targets) and site_paths() and not session.agent.answers():
        session.agent.start()
    with ByteProgress(quiet=as_json) as progress:
        sent, failed = run(sent_to(everybody(session), reference, source, targets, progress))
    if as_json:
        print_json(sent)
    else:
        for one in sent:
            say(one.line)
    if failed is not None:
        raise failed
    return 0
