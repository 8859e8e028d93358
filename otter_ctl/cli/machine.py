"""`otterctl machine`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from otter_ctl.cli import EXIT_FAILED
from otter_ctl.cli.carrying import Manner, carry_out, with_shell
from otter_ctl.cli.common import json_option, print_json, run, site_option
from otter_ctl.cli.saying import say
from otter_ctl.errors import RemoteError

if TYPE_CHECKING:
    from otter_agent import api
    from otter_ctl.machine.checks import Check
    from otter_ctl.machine.elevate import Elevated
    from otter_ctl.machine.looking import Line
    from otter_ctl.topology.model import Machine


@click.group(
    name="machine",
    epilog="""\b
Examples:
  otterctl machine add alice@pi.local      a bare Debian or Ubuntu becomes an OTTER machine
  otterctl machine ls
  otterctl machine check pi
  otterctl machine upgrade pi
  otterctl machine rm pi

See docs/machines.md.
""",
)
def command() -> None:
    """Make machines OTTER machines, and look at them: Debian or Ubuntu, reached by SSH.

    TARGET is the name of a machine of the site file, USER@HOST, or an alias of ~/.ssh/config. What
    that says holds: keys, agents, certificates, ProxyJump. Host keys are always verified.
    """


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from net.errors import OtterError
    from otter_ctl.machine.sites import known

    try:
        return [CompletionItem(name) for name in known() if name.startswith(incomplete)]
    except (OtterError, OSError):
        return []


def _fingerprint(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", value):
        raise click.UsageError(
            f"--accept-host-key {value}: a fingerprint is SHA256:… of 43 letters"
        )
    return value


_target = click.argument("target", metavar="TARGET", shell_complete=_complete)
_config = click.option(
    "--ssh-config", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
    help="OpenSSH configuration to read instead of ~/.ssh/config.",
)  # fmt: skip
_host_key = click.option(
    "--accept-host-key", metavar="SHA256:…", callback=_fingerprint,
    help="Trust the host key with this fingerprint, only.",
)  # fmt: skip
_yes = click.option("-y", "--yes", is_flag=True, help="Don't ask.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON; goes with --dry-run.")


@command.command(
    epilog="""\b
Examples:
  otterctl machine add alice@pi.local --label jetson
  otterctl machine add root@10.0.0.7 --name box --data 192.168.7.1 --docker
  otterctl machine add jetson --python cpython-3.12-aarch64-unknown-linux-gnu-install_only.tar.gz
  otterctl machine add pi --dry-run
  OTTER_SUDO_PASSWORD=… otterctl machine add alice@pi.local --yes
"""
)
@_target
@click.option("--name", metavar="NAME", help="What it is called; else as its host.")
@click.option("--data", metavar="ADDRESS", help="Its address or interface for mesh traffic.")
@click.option("--label", "labels", multiple=True, help="A word by which hosts ask. Repeatable.")
@click.option("--docker", is_flag=True, help="Install Debian's Docker engine if there is none.")
@click.option(
    "--python", "archive", metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Bring this interpreter along: a .tar.gz with python/bin/python3.N.",
)  # fmt: skip
@click.option(
    "--via", type=click.Choice(["docker"]),
    help="The agent as one privileged container: for who may use Docker there, but isn't root.",
)  # fmt: skip
@_config
@_host_key
@site_option
@_yes
@_dry_run
@_json
def add(
    target: str,
    name: str | None,
    data: str | None,
    labels: tuple[str, ...],
    docker: bool,
    archive: Path | None,
    via: str | None,
    ssh_config: str | None,
    accept_host_key: str | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a machine an OTTER machine, and write it into the site file.

    This version of OTTER goes there with all that it needs: the machine needs no package index,
    only Python 3.11 or newer; where there is none, --python brings one along. Every step that needs
    root is listed before anything is done. sudo may want a password: it is asked for here, or taken
    from OTTER_SUDO_PASSWORD or SUDO_ASKPASS.
    """
    from otter_ctl.machine import installing, sites

    manner = Manner(yes, dry_run, as_json)
    if via and (docker or archive):
        raise click.UsageError(
            "--via docker needs an engine that is there, and nothing else: leave out"
            f" {'--docker' if docker else '--python'}"
        )
    machine, known = sites.find(target, name, ssh_config)
    written = replace(machine, data=data or machine.data, labels=labels or machine.labels)
    if not known:
        try:
            sites.check(written)
        except RemoteError as error:  # of what was said here alone: the file can be read
            raise click.UsageError(error.message) from error
    elif written != machine:
        hint = f"change it there: {sites.own_file()}"
        raise RemoteError(machine.name, "the site file says otherwise of it", hint=hint)

    async def work(shell: Elevated) -> None:
        facts = await shell.facts()
        planned = partial(installing.plan_add, docker=docker, archive=archive)
        if via:
            planned = partial(installing.plan_container)
        todo = await asyncio.to_thread(planned, machine.name, facts)
        if await carry_out(shell, todo, f"make {machine.name} an OTTER machine", manner):
            if not known:
                click.echo(f"{machine.name} is ready ({sites.add(written)})")
            else:
                click.echo(f"{machine.name} is ready")

    with_shell(machine, accept_host_key, work)


@command.command(epilog="Example: otterctl machine upgrade pi --yes")
@_target
@site_option
@_yes
@_dry_run
@_json
def upgrade(target: str, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Bring a machine to this otterctl's version. Meshes there keep running.

    If the new agent doesn't answer, the earlier one is started again.
    """
    from otter_ctl.machine import installing, sites
    from otter_ctl.machine.wheel import own_wheel

    manner = Manner(yes, dry_run, as_json)
    machine, _ = sites.find(target, None, None)

    async def work(shell: Elevated) -> None:
        facts = await shell.facts()
        there = facts.served or facts.container
        if not there:
            hint = f"otterctl machine add {target}"
            raise RemoteError(machine.name, "OTTER isn't installed there", hint=hint)
        own = own_wheel().release
        if not facts.release:
            plan = partial(installing.plan_container, machine.name, facts)
        else:
            plan = partial(installing.plan_add, machine.name, facts, docker=False, again=True)
        if there == own == (facts.release or there):
            manner.nothing(machine.name, f"{machine.name} has {own} already")
            return
        todo = await asyncio.to_thread(plan)
        what = f"upgrade {machine.name} from {there} to {own}"
        if await carry_out(shell, todo, what, manner):
            click.echo(f"{machine.name} has {own}")

    with_shell(machine, None, work)


@command.command(epilog="Example: otterctl machine rm pi")
@_target
@click.option("--force", is_flag=True, help="End the meshes that run there, with all they have.")
@click.option("--forget", is_flag=True, help="Only take it out of the site file: it is gone.")
@click.option("--keep-docker", is_flag=True, help="Leave the engine that `add --docker` installed.")
@click.option("--keep-images", is_flag=True, help="Leave the images that OTTER built there.")
@site_option
@_yes
@_dry_run
@_json
def rm(
    target: str,
    force: bool,
    forget: bool,
    keep_docker: bool,
    keep_images: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Revert what `add` did, and take the machine out of the site file.

    The agent, its state and its packages go; volumes, environments and the images that OTTER built
    there with them. So does a Docker engine that `add --docker` installed, and no other.
    """
    from otter_ctl.machine import installing, sites
    from otter_ctl.machine.removing import Removal

    manner = Manner(yes, dry_run, as_json)
    machine, _ = sites.find(target, None, None)
    if forget:
        if dry_run:
            raise click.UsageError("--forget does nothing there: leave out --dry-run")
        _tell_forgotten(machine, sites.remove(machine.name))
        return

    async def work(shell: Elevated) -> None:
        facts = await shell.facts()
        meshes = await installing.meshes_of(shell)
        if meshes and not force:
            raise RemoteError(
                machine.name,
                f"meshes run there: {', '.join(meshes)}",
                hint="destroy them first, or --force",
            )
        removal = Removal(machine.name, meshes, force, images=not keep_images)
        todo = installing.plan_remove(facts, removal, keep_docker=keep_docker)
        if await carry_out(shell, todo, f"remove OTTER from {machine.name}", manner):
            await shell.forget_all()
            _tell_forgotten(machine, sites.remove(machine.name))

    with_shell(machine, None, work)


@command.command(
    epilog="Example: otterctl machine check pi --json | jq '.checks[] | select(.ok == false)'"
)
@_target
@_config
@_host_key
@site_option
@json_option
def check(target: str, ssh_config: str | None, accept_host_key: str | None, as_json: bool) -> int:
    """Say what a machine is and has, what is missing, and what to do. Changes nothing.

    Exits with 1 if no mesh can run there.
    """
    from otter_ctl.machine import checks, sites
    from otter_ctl.machine.looking import look

    machine, _ = sites.find(target, None, ssh_config)
    found: list[Check] = []

    async def work(shell: Elevated) -> None:
        found.extend(checks.checks(target, await look(shell.road)))

    with_shell(machine, accept_host_key, work)
    usable = checks.usable(found)
    if as_json:
        plain = [{"name": c.name, "ok": c.ok, "detail": c.detail, "todo": c.todo} for c in found]
        print_json({"machine": machine.name, "usable": usable, "checks": plain})
    else:
        _show(found)
        click.echo(f"\n{machine.name} is ready" if usable else f"\n{machine.name} isn't ready yet")
    return 0 if usable else EXIT_FAILED


@command.command(name="ls", epilog="Example: otterctl machine ls --json")
@site_option
@json_option
def list_machines(as_json: bool) -> None:
    """List the machines of the site file: whether they are reachable, and what runs there."""
    from otter_ctl.machine import sites
    from otter_ctl.machine.looking import list_all

    machines = list(sites.known().values())
    lines = run(list_all(machines)) if machines else []
    if as_json:
        print_json([_document(line) for line in lines])
    elif not lines:
        click.echo("no machines; otterctl machine add USER@HOST, or otterctl lab up 3", err=True)
    else:
        _print(lines)


@command.command(epilog="Example: otterctl machine context agent --arch arm64")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--arch", metavar="NAME", help="For which processors: amd64, arm64; else as here.")
def context(folder: Path, arch: str | None) -> None:
    """Write what the agent's image is built from into a folder, with a compose file.

    For computers that only have Docker: docker compose -f DIR/compose.yaml up -d --build
    """
    import platform

    from otter_ctl.machine import container
    from otter_ctl.machine.installing import write_context

    named = arch or platform.machine()
    word = container.arch_of(named)
    if word is None:
        known = ", ".join(container.ARCHES)
        raise click.UsageError(f"no image is made for processors {named!r}; --arch knows {known}")
    write_context(folder, word, sys.platform)
    click.echo(f"docker compose -f {folder / 'compose.yaml'} up -d --build")


def _document(line: Line) -> dict[str, object]:
    info = line.info
    return {
        "name": line.machine.name,
        "ssh": line.machine.ssh or line.machine.name,
        "data": line.machine.data,
        "labels": list(line.machine.labels),
        "reachable": line.reachable,
        "version": info.version if info else None,
        "arch": info.arch if info else None,
        "runtimes": [r.name for r in info.runtimes if r.usable] if info else [],
        "kernel": info.kernel if info else None,
        "cpus": info.cpus if info else None,
        "memory_bytes": info.memory_bytes if info else None,
        "cgroup": info.cgroup if info else None,
        "link_driver": info.link_driver if info else None,
        "engine": info.engine if info else None,
        "features": info.features if info else [],
        "devices": info.devices if info else [],
        "why": line.why,
    }


def _print(lines: list[Line]) -> None:
    from otter_ctl.cli.tables import print_table

    print_table(
        ("MACHINE", "SSH", "REACHABLE", "VERSION", *_FACTS, "NOTE"),
        [
            (
                line.machine.name,
                line.machine.ssh or line.machine.name,
                "yes" if line.reachable else "no",
                line.info.version if line.info else "",
                *(_facts(line.info) if line.info else ("",) * len(_FACTS)),
                _version_note(line) or line.why,
            )
            for line in lines
        ],
    )


_FACTS = ("ARCH", "CPUS", "MEMORY", "LINKS", "ACCELERATORS", "RUNTIMES")


def _facts(info: api.Info) -> tuple[str, ...]:
    kinds = Counter(one.kind for one in info.devices)
    return (
        info.arch,
        str(info.cpus),
        f"{info.memory_bytes / 2**30:.1f}GiB",
        info.link_driver,
        " ".join(kind if count == 1 else f"{count}x{kind}" for kind, count in kinds.items()),
        " ".join(r.name for r in info.runtimes if r.usable and r.name != "fake"),
    )


def _version_note(line: Line) -> str:
    from otter_ctl.machine.wheel import own_wheel

    own = own_wheel().version
    if line.info is None or line.info.version == own:
        return ""
    return f"this otterctl is {own}: otterctl machine upgrade {line.machine.name}"


def _tell_forgotten(machine: Machine, path: object) -> None:
    if path is None:
        click.echo(f"{machine.name}: the site file doesn't name it")
    else:
        click.echo(f"{machine.name} is out of {path}")


def _show(found: list[Check]) -> None:
    from otter_ctl.printable import printable_lines

    marks = {True: ("ok", "green"), False: ("BAD", "red"), None: ("--", "yellow")}
    for one in found:
        mark, colour = marks[one.ok]
        told = printable_lines(f"{one.name}: {one.detail}")
        click.echo(f"{click.style(f'{mark:>3}', fg=colour)}  {told}")
        if one.ok is not True and one.todo:
            say(f"       try: {one.todo}")
