"""`otterctl lab`."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from otter_ctl.cli.common import json_option, print_json

if TYPE_CHECKING:  # Linux only; and `otterctl lab --help` shouldn't pay for it
    from otter_ctl.lab.lab import Lab, LabMachine

SERVICES = ("ssh", "docker", "agent")
CABLES = ("management", "data")


@click.group(
    name="lab",
    epilog="""\b
Examples:
  sudo .venv/bin/otterctl lab up 3         lab1, lab2 and lab3
  sudo .venv/bin/otterctl lab ls
  otterctl lab ssh 2                       a shell on lab2
  otterctl apply topologies/three-machines.toml
  sudo .venv/bin/otterctl lab cut lab2     a partition; `heal` ends it
  sudo .venv/bin/otterctl lab off lab2     a power cut; `on` ends it
  sudo .venv/bin/otterctl lab down

See docs/lab.md.
""",
)
def command() -> None:
    """Emulate machines on this computer: each with SSH, a Docker engine and an agent.

    A machine has namespaces, control groups and a disk of its own; what it writes below /etc, /usr,
    /opt, /root, /home and /var/lib stays its own. While a lab is up, otterctl knows its machines
    without being told of a site file. Needs root; sudo looks into no virtual environment, so name
    otterctl by its path.
    """


def _lab() -> Lab:
    from otter_ctl.lab.lab import Lab

    return Lab()


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from otter_ctl.lab.errors import LabError
    from otter_ctl.lab.folder import Folder
    from otter_ctl.lab.place import default_folder

    try:
        memory = Folder(default_folder()).read()
    except (LabError, OSError):
        return []
    names = [machine.name for machine in memory.machines] if memory else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


_names = click.argument(
    "names", nargs=-1, required=True, metavar="MACHINE...", shell_complete=_complete
)
_name = click.argument("name", metavar="MACHINE", shell_complete=_complete)
_service = click.argument("service", type=click.Choice(SERVICES))
_cable = click.option(
    "--only", type=click.Choice(CABLES), help="This cable alone, instead of both."
)


@command.command(
    epilog="""\b
Examples:
  otterctl lab up 3
  otterctl lab up 5                        two more, if there are three
  otterctl lab up 2 --no-docker
  otterctl lab up 1 --bare                 try `otterctl machine add lab1` on it
  otterctl lab up 3 --management "rate=1mbit delay=300ms loss=5%"
"""
)
@click.argument("count", type=click.IntRange(1), default=3, metavar="[N]")
@click.option("--no-docker", is_flag=True, help="New machines have no Docker engine.")
@click.option("--bare", is_flag=True, help="New machines have no agent, as if just installed.")
@click.option(
    "--management", default="", metavar="PROPERTIES",
    help="What is to be scarce on new machines' way to this otterctl, each way, as in a topology"
    " (rate, delay, jitter, loss, queue): \"rate=1mbit delay=300ms\".",
)  # fmt: skip
@click.option(
    "--layer", "layers", multiple=True, metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Machines see what lies in DIR/usr, DIR/etc, … as if it was installed. Repeatable.",
)  # fmt: skip
@json_option
def up(
    count: int,
    no_docker: bool,
    bare: bool,
    management: str,
    layers: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Have N machines: lab1 … labN. What is there already stays as it is.

    Returns when all answer. One that was interrupted is finished by the next, or removed by `down`.
    """
    _check(count, management)
    lab = _lab()
    machines = lab.up(count, docker=not no_docker, bare=bare, management=management, layers=layers)
    if as_json:
        print_json(_document(lab, machines))
        return
    _print(machines)
    click.echo(f"\notterctl knows them while the lab is up ({lab.site})", err=True)


def _check(count: int, management: str) -> None:
    """What is wrong whatever is up is wrong usage."""
    from otter_ctl.lab import pool
    from otter_ctl.lab.errors import LabError
    from otter_ctl.lab.shaper import spec_of

    if count > pool.MOST:
        raise click.UsageError(f"{count} machines: at most {pool.MOST}")
    try:
        spec_of(management)
    except LabError as error:
        raise click.UsageError(str(error).removeprefix("lab: ")) from None


@command.command(epilog="Example: otterctl lab down")
def down() -> None:
    """Remove all of it: processes, namespaces, devices, control groups, disks, keys."""
    _lab().down()


@command.command(name="ls", epilog="Example: otterctl lab ls --json | jq '.machines[].name'")
@json_option
def list_machines(as_json: bool) -> None:
    """List the machines, and what runs on them."""
    lab = _lab()
    machines = lab.machines()
    if as_json:
        print_json(_document(lab, machines))
    elif machines:
        _print(machines)
    else:
        click.echo("no lab is up; make one: otterctl lab up 3", err=True)


@command.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  otterctl lab ssh 2
  otterctl lab ssh lab2 -- tail /var/log/agent.log
  otterctl lab ssh lab2 'docker ps | wc -l'
""",
)
@_name
@click.argument("argv", nargs=-1, metavar="[-- CMD [ARG]...]", type=click.UNPROCESSED)
def ssh(name: str, argv: tuple[str, ...]) -> None:
    """A shell on a machine, or a command there; exits with its status."""
    import shlex

    words = argv[1:] if argv and argv[0] == "--" else argv
    line = words[0] if len(words) == 1 else shlex.join(words)  # one word may be a line for a shell
    command_line = _lab().ssh(name, *([line] if line else []))
    if shutil.which(command_line[0]) is None:
        raise click.ClickException("ssh is not installed; apt-get install openssh-client")
    os.execvp(command_line[0], command_line)  # noqa: S606 - it takes over our terminal


@command.command(epilog="Example: otterctl lab cut lab2 lab3 --only data")
@_names
@_cable
def cut(names: tuple[str, ...], only: str | None) -> None:
    """Pull machines' cables: what is sent there is lost, and nobody is told. See `heal`."""
    _lab().cut(*names, cables=[only] if only else CABLES)


@command.command(epilog="Example: otterctl lab heal lab2 lab3")
@_names
@_cable
def heal(names: tuple[str, ...], only: str | None) -> None:
    """Plug cables in again."""
    _lab().heal(*names, cables=[only] if only else CABLES)


@command.command(epilog="Example: otterctl lab off lab2")
@_names
def off(names: tuple[str, ...]) -> None:
    """Cut the power of machines: all that runs there ends at once; what is on disk stays."""
    _lab().off(*names)


@command.command(epilog="Example: otterctl lab on lab2")
@_names
def on(names: tuple[str, ...]) -> None:
    """Switch machines on again; returns when they answer."""
    _lab().on(*names)


@command.command(epilog="Example: otterctl lab stop lab2 docker")
@_name
@_service
def stop(name: str, service: str) -> None:
    """Stop a service of a machine; it stays so until `start`, or until the machine's next boot."""
    _lab().service(name, service, "stop")


@command.command(epilog="Example: otterctl lab start lab2 docker")
@_name
@_service
def start(name: str, service: str) -> None:
    """Start a service of a machine again."""
    _lab().service(name, service, "start")


def _document(lab: Lab, machines: list[LabMachine]) -> dict[str, object]:
    return {
        "up": bool(machines),
        "folder": str(lab.folder.path),
        "site": str(lab.site) if machines else None,
        "machines": [asdict(machine) for machine in machines],
    }


def _print(machines: list[LabMachine]) -> None:
    from otter_ctl.cli.tables import print_table

    print_table(
        ("MACHINE", "POWER", "SSH", "DATA", "RUNS", "CUT", "MANAGEMENT"),
        [
            (
                m.name,
                "on" if m.on else "off",
                m.address,
                m.data,
                " ".join(name if up else f"({name})" for name, up in m.services.items()),
                " ".join(m.cut),
                m.management,
            )
            for m in machines
        ],
    )
