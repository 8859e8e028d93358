"""Whom a verb asks: this machine's agent, or with a site file all machines of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from otter_ctl.cli import Session
from otter_ctl.client import AgentClient
from otter_ctl.meshes import Meshes
from otter_ctl.sites import site_paths

if TYPE_CHECKING:
    from otter_ctl.spread import Fleet
    from otter_ctl.topology.model import Machine


def connect(session: Session, *, force: bool = False) -> Meshes:
    """Everybody who may know of a mesh; use with `async with`.

    Raises:
        TopologyErrors: The site file is wrong.
    """
    if not site_paths():
        return AgentClient(session.agent.socket, force=force)
    return everybody(session, force=force)


def everybody(session: Session, *, force: bool = False) -> Fleet:
    """The same, as what also knows which machines there are.

    Raises:
        TopologyErrors: The site file is wrong.
    """
    known: Mapping[str, Machine] = {}
    if site_paths():
        from otter_ctl.topology.site import known_machines

        known = known_machines(None)
    return reach(session, known, force=force)


def reach(
    session: Session,
    machines: Mapping[str, Machine],
    *,
    force: bool = False,
    reads_only: bool = False,
) -> Fleet:
    """This machine and some others; with `reads_only` nothing can be changed there."""
    from otter_ctl.spread import Fleet

    here = session.agent.socket
    return Fleet(here, machines, force=force, reads_only=reads_only, on_trouble=_warn)


def anybody(session: Session) -> bool:
    """Whether there is anybody to ask: without an agent here there may be other machines."""
    return session.agent.answers() or bool(site_paths())


def _warn(machine: str, what: str) -> None:
    from otter_ctl.printable import printable_lines

    click.secho(f"warning: {printable_lines(what)}", fg="yellow", err=True)
