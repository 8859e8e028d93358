"""How work on a machine is listed, asked about and done. Must not know: what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from otter_ctl.cli.common import print_json, run
from otter_ctl.cli.saying import say
from otter_ctl.errors import RemoteError

if TYPE_CHECKING:
    from otter_ctl.machine.elevate import Elevated
    from otter_ctl.machine.installing import Work
    from otter_ctl.topology.model import Machine

PASSWORD = "OTTER_SUDO_PASSWORD"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class Manner:
    """How it is to go about: `yes` asks nothing, `dry_run` does nothing, `as_json` tells scripts.

    Raises:
        click.UsageError: JSON of what is done: only of what would be there is any.
    """

    yes: bool
    dry_run: bool
    as_json: bool

    def __post_init__(self) -> None:
        if self.as_json and not self.dry_run:
            raise click.UsageError("--json goes with --dry-run")

    def listed(self, machine: str, work: Work) -> None:
        """What would be done, as JSON."""
        steps = [{"title": step.title, "root": step.root} for step in work.steps]
        document = {"machine": machine, "steps": steps, "send_bytes": work.send_bytes}
        print_json({**document, "notes": work.notes})

    def nothing(self, machine: str, why: str) -> None:
        """That nothing is to be done."""
        if self.as_json:
            print_json({"machine": machine, "steps": [], "send_bytes": 0, "notes": [why]})
        else:
            click.echo(why)


def with_shell(
    machine: Machine, accept: str | None, work: Callable[[Elevated], Awaitable[None]]
) -> None:
    """Run something with one SSH connection to a machine.

    Raises:
        RemoteError: It is reached in another way: by SSH somebody else may be called so.
    """
    if machine.docker is not None or machine.direct:
        how = f"by its socket, {machine.socket}"
        if machine.docker is not None:
            how = f"by docker exec, in container {machine.docker}"
        forget = f"otterctl machine rm {machine.name} --forget"
        hint = f"`otterctl machine ls` asks it so; `{forget}` takes it out of the site file"
        raise RemoteError(machine.name, f"it is reached {how}, not by SSH", hint=hint)

    async def whole() -> None:
        from otter_ctl.machine.elevate import Elevated
        from otter_ctl.ssh import Road

        if accept is not None:
            from otter_ctl.machine.hostkey import accept as take

            await take(machine, accept)
        async with Road(machine) as road:
            await work(Elevated(road, lambda: _password(road.target)))

    coroutine: Coroutine[Any, Any, None] = whole()
    run(coroutine)


def _password(who: str) -> str:
    """For sudo: of the variable, of the askpass program, of whoever sits at the terminal."""
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if program := os.environ.get("SUDO_ASKPASS"):
        prompt = f"[sudo] password of {who}:"
        done = subprocess.run([program, prompt], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.rstrip("\n")
    if not sys.stdin.isatty():
        raise RemoteError(who, "sudo asks for a password", hint=f"set {PASSWORD} or SUDO_ASKPASS")
    answer: str = click.prompt(f"[sudo] password of {who}", hide_input=True, err=True)
    return answer


async def carry_out(shell: Elevated, work: Work, what: str, manner: Manner) -> bool:
    """List the steps, ask, do them; False: they weren't done."""
    from otter_ctl.machine import installing

    if manner.as_json:
        manner.listed(shell.road.machine.name, work)
        return False
    as_root = {"root": "", "sudo": " with sudo", "password": " with sudo and its password"}
    how = f"as root{as_root.get(work.facts.root, '')}"
    if not any(step.root for step in work.steps):
        how = f"as {work.facts.user}, with Docker"
    say(f"To {what}, {how}:", err=True)
    for step in work.steps:
        say(f"  - {step.title}", err=True)
    if work.send:
        mega = work.send_bytes / 1e6
        click.echo(f"  {len(work.send)} packages are sent there, {mega:.1f} MB", err=True)
    for note in work.notes:
        say(f"  note: {note}", err=True)
    if manner.dry_run:
        return False
    if not manner.yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is there to ask: say --yes, or --dry-run")
        click.confirm("Do that?", abort=True, err=True)
    await installing.carry_out(shell, work, lambda title: say(f"{title} …", err=True))
    return True
