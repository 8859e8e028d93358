"""`otterctl trace`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import click

from otter_ctl.cli import Session
from otter_ctl.cli.agents import anybody, connect
from otter_ctl.cli.common import json_option, mesh_option, pass_session, pick_mesh, print_json, run
from otter_ctl.cli.saying import say
from otter_ctl.errors import TraceError
from otter_ctl.meshes import Meshes
from otter_ctl.printable import printable
from otter_ctl.tracing import PARTS, Find, Hop, Trace, trace


@click.command(
    epilog="""\b
Examples:
  otterctl trace camera:1f9a03cc:17
  otterctl trace camera:1f9a03cc:17 --json | jq '.messages[] | {stream, parts}'
  otterctl trace camera:1f9a03cc:17 --run runs/lab/20261122-204322
"""
)
@click.argument("message_id", metavar="ID")
@mesh_option
@click.option(
    "--run",
    "run_folder",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A run folder instead of a mesh that runs.",
)
@json_option
@pass_session
def command(
    session: Session, message_id: str, mesh: str | None, run_folder: Path | None, as_json: bool
) -> None:
    """Show one query end to end: a message, what it answers, what answers it, and where time went.

    ID is `message.id` in a module, and the first column of `messages/MODULE.csv`. It is looked for
    in the mesh that runs, else in the newest run folder. Times are those of `otterctl events`.
    """
    found, where = run(_find(session, message_id, mesh, run_folder))
    if not found.hops:
        raise TraceError(
            where,
            f"no record of a message {printable(message_id)!r}",
            hint="a message is recorded once its receiver is done with it, or it is dropped",
        )
    if as_json:
        print_json({"source": where, **found.as_data()})
    else:
        _show(found, where)


async def _find(
    session: Session, message_id: str, mesh: str | None, folder: Path | None
) -> tuple[Trace, str]:
    if folder is None and anybody(session):
        async with connect(session) as client:
            name = mesh
            if name is None and await client.meshes():
                name = await pick_mesh(client, None)
            if name is not None and any(m.mesh == name for m in await client.meshes()):
                return await trace(message_id, _in_mesh(client, name)), f"mesh {name}"
    folder = folder or _newest(session.runs, mesh)
    return await trace(message_id, _in_folder(folder)), str(folder)


def _newest(runs: Path, mesh: str | None) -> Path:
    found = [path for path in runs.glob(f"{mesh or '*'}/*") if (path / "messages").is_dir()]
    if not found:
        text = (
            f"no mesh{f' {mesh}' if mesh else ''} runs, and no run folder has records of messages"
        )
        raise TraceError(str(runs), text, hint="name a run folder with --run DIR")
    return max(found, key=lambda path: path.name)  # named by the time of the run


def _in_mesh(client: Meshes, mesh: str) -> Find:
    async def find(ids: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
        async for line in client.records(mesh, ids):
            yield line.module, line.line

    return find


def _in_folder(folder: Path) -> Find:
    async def find(ids: Sequence[str]) -> AsyncIterator[tuple[str, str]]:
        from net.traces import lines_naming

        for path in sorted((folder / "messages").glob("*.csv")):
            with path.open("rb") as file:
                for line in lines_naming(file, ids):
                    yield path.stem, line.decode(errors="replace")

    return find


def _show(found: Trace, where: str) -> None:
    from otter_ctl.cli.tables import print_table
    from otter_ctl.cli.times import utc

    count = len({hop.record.id for hop in found.hops})
    more = ", and more that are not shown" if found.cut else ""
    took = f"{(found.ended - found.began) * 1000:.1f} ms from {utc(found.began)}"
    say(f"{printable(found.id)}: {count} messages{more}, {took} ({where})\n")
    print_table(
        ("AT", "ID", "STREAM", *(f"{part.upper()} ms" for part in PARTS), "BYTES", "OUTCOME"),
        [_row(hop, found.began) for hop in found.hops],
    )
    if error_s := max((hop.record.clock_error_s for hop in found.hops), default=0.0):
        click.echo(f"\nclocks of its machines may be {error_s * 1000:.3g} ms apart")


def _row(hop: Hop, began: float) -> tuple[object, ...]:
    parts, record = hop.parts(), hop.record
    return (
        f"+{(hop.began - began) * 1000:.1f} ms",
        "  " * min(hop.depth, 20) + printable(record.id, 80),
        printable(record.stream, 80),
        *(f"{parts[part] * 1000:.2f}" if part in parts else "-" for part in PARTS),
        record.nbytes,
        record.outcome,
    )
