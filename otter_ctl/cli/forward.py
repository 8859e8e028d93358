"""`otterctl forward`."""

from __future__ import annotations

from typing import Literal

import click

from otter_agent import api
from otter_ctl import forward
from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_module,
    force_option,
    json_option,
    mesh_option,
    pass_session,
    pick_mesh,
    print_json_line,
    run,
)
from otter_ctl.cli.saying import say
from otter_ctl.errors import RemoteError
from otter_ctl.meshes import Meshes

_PORTS = 65536


@click.command(
    epilog="""\b
Examples:
  otterctl forward web 8000              127.0.0.1:8000 leads to port 8000 of web
  otterctl forward web 80 8000           127.0.0.1:8000 leads to port 80 of web; also: 8000:80
  otterctl forward web 80 0              a free local port, told on the first line
  otterctl forward web 8000 --at phone   enters at host phone, and crosses the links to web
"""
)
@mesh_option
@click.option(
    "--at", metavar="HOST", default="",
    help="Enter the mesh at this host, so that everything crosses the links from there. "
    "Without it: straight to the module, over no link.",
)  # fmt: skip
@click.option("--udp", is_flag=True, help="Datagrams instead of TCP.")
@force_option
@json_option
@click.argument("module", shell_complete=complete_module)
@click.argument("port")
@click.argument("local", required=False, metavar="[LOCALPORT]")
@pass_session
def command(
    session: Session,
    mesh: str | None,
    force: bool,
    at: str,
    udp: bool,
    as_json: bool,
    module: str,
    port: str,
    local: str | None,
) -> None:
    """Let a local port lead to a port of a module, until Ctrl-C.

    The local port is at 127.0.0.1 only. Any number of connections may use it at once.
    """
    target, at_home = _ports(port, local)
    protocol: Literal["tcp", "udp"] = "udp" if udp else "tcp"
    request = api.ForwardRequest(port=target, at=at, protocol=protocol)

    async def work() -> None:
        async with connect(session, force=force) as client:
            goal = forward.Goal(await pick_mesh(client, mesh), module, request)
            await _check(client, goal)
            with forward.listen(goal, at_home) as listener:
                _show(goal, listener.getsockname()[1], as_json=as_json)
                await forward.run(client, goal, listener, _tell)

    run(work())


def _ports(port: str, local: str | None) -> tuple[int, int]:
    """`PORT`, `PORT LOCAL` or `LOCAL:PORT` -> (the module's, ours)."""
    if ":" in port and local is None:
        local, _, port = port.partition(":")
    target = _number(port, "PORT", 1)
    return target, target if local is None else _number(local, "LOCALPORT", 0)


def _number(text: str, what: str, least: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1
    if not least <= number < _PORTS:
        raise click.UsageError(f"{what} {text[:20]!r}: a number from {least} to {_PORTS - 1}")
    return number


async def _check(client: Meshes, goal: forward.Goal) -> None:
    """What is misspelt is told now, not at the first connection."""
    spec = (await client.mesh(goal.mesh)).spec
    for what, name, known in (
        ("module", goal.module, [m.name for m in spec.modules]),
        ("host", goal.request.at, [h.name for h in spec.hosts]),
    ):
        if name and name not in known:
            hint = f"there are: {', '.join(known)}"
            raise RemoteError("local", f"no {what} {name!r} in mesh {goal.mesh}", hint=hint)


def _show(goal: forward.Goal, port: int, *, as_json: bool) -> None:
    request = goal.request
    if as_json:
        print_json_line(
            {
                "listen": forward.LOOPBACK,
                "listen_port": port,
                "mesh": goal.mesh,
                "module": goal.module,
                "port": request.port,
                "protocol": request.protocol,
                "at": request.at,
            }
        )
        return
    way = f"from host {request.at}, across the links" if request.at else "straight, over no link"
    there = f"{goal.module}:{request.port}/{request.protocol}"
    say(f"{forward.LOOPBACK}:{port} leads to {there} ({way}); Ctrl-C ends it")


def _tell(text: str) -> None:
    say(f"forward: {text}", err=True)
