"""`otterctl cp`."""

from __future__ import annotations

import os
import sys

import click
from click.shell_completion import CompletionItem

from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_names,
    force_option,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json,
    run,
)
from otter_ctl.cli.transfers import ByteProgress
from otter_ctl.copying import Copier
from otter_ctl.fetching import about
from otter_ctl.meshes import Meshes


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of modules, with their colons; local paths are the shell's own business."""

    async def names(client: Meshes) -> list[str]:
        mesh = await client.mesh(await pick_mesh(client, ctx.params.get("mesh")))
        return [f"{module.name}:" for module in mesh.modules]

    found = complete_names(ctx, names, incomplete)
    return found or [CompletionItem(incomplete, type="file")]


@click.command(
    epilog="""\b
Examples:
  otterctl cp asr:answer.wav .                  a path is relative to the module's /work
  otterctl cp data/question.wav asr:inputs/
  otterctl cp asr:/var/log/. logs/              the content of a folder
  otterctl cp asr:/work - | tar -t              as a tar; with - as SRC it is read
"""
)
@click.argument("source", metavar="SRC", shell_complete=_complete)
@click.argument("target", metavar="DST", shell_complete=_complete)
@click.option("-L", "--follow-link", is_flag=True, help="Copy what the link SRC leads to.")
@mesh_option
@force_option
@json_option
@pass_session
def command(
    session: Session,
    source: str,
    target: str,
    follow_link: bool,
    mesh: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Copy files and folders out of a module, or into one; one of both is MODULE:PATH.

    The rules are those of `docker cp`. It works for every image, with a shell or without, and for
    modules that have ended or were stopped. Modes and times are kept; secrets are not copied.
    """
    module, path = _split(source)
    into, place = _split(target)
    if (module is None) == (into is None):
        raise click.UsageError("one of SRC and DST must be MODULE:PATH, the other is a local path")
    if target == "-" and sys.stdout.isatty():
        raise click.UsageError("a tar is nothing for a terminal: otterctl cp … - > FILE.tar")

    async def copy() -> int:
        async with connect(session, force=force) as client:
            name = await pick_mesh(client, mesh)
            with ByteProgress(quiet=as_json) as progress:
                copier = Copier(client, name, module or into or "", follow_link, progress)
                if module is not None and target == "-":
                    await copier.out_as_tar(path, sys.stdout.buffer)
                elif module is not None:
                    await copier.out(path, target)
                elif source == "-":
                    await copier.into_as_tar(sys.stdin.buffer, place)
                else:
                    await copier.into(source, place)
                return copier.done_bytes

    done = run(copy())
    if as_json and target != "-":
        print_json({"from": source, "to": target, "bytes": done})
    elif target != "-":
        click.echo(f"{source} -> {target}: {about(done)}", err=True)


def _split(text: str) -> tuple[str | None, str]:
    """(module, path), or (None, local path)."""
    module, colon, path = text.partition(":")
    local = text.startswith((".", "/", "~")) or "/" in module or os.path.splitdrive(text)[0]
    if not colon or not module or local:
        return None, text
    return module, path or "."
