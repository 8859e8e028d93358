"""`otterctl gpu`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from net.units import format_duration, format_size
from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.common import ask, json_option, pass_session, print_json, site_option
from otter_ctl.meshes import Meshes


@click.group(name="gpu", epilog="Example: otterctl gpu ls")
def command() -> None:
    """Show the GPUs of machines, modules that share them, and what holds those to their parts."""


@command.command(
    epilog="""\b
Examples:
  otterctl gpu ls
  otterctl gpu ls --json | jq '.[].gpus[].processes[]'
"""
)
@site_option
@json_option
@pass_session
def ls(session: Session, as_json: bool) -> None:
    """List GPUs, the modules' processes on them, and the turns that modules took.

    A machine without a GPU says so; that is no error.
    """

    async def question(client: Meshes) -> dict[str, api.GpuState]:
        return await client.gpus()

    states = ask(session, question)
    if as_json:
        print_json(states)
        return
    _show(states)


def _show(states: dict[str, api.GpuState]) -> None:
    from otter_ctl.cli.tables import print_table
    from otter_ctl.printable import printable_lines

    for name, state in states.items():
        if state.why:
            click.echo(f"{name}: {printable_lines(state.why)}", err=True)
    show_gpus(states)
    gpus = [(name, gpu) for name, state in states.items() for gpu in state.gpus]
    processes = [(name, gpu.index, p) for name, gpu in gpus for p in gpu.processes]
    if processes:
        click.echo()
        header = ("MACHINE", "GPU", "PID", "PROCESS", "KIND", "MEMORY", "MESH", "MODULE")
        print_table(
            header,
            [
                (name, index, p.pid, p.name, p.kind, _size(p.memory_bytes), p.mesh, p.module)
                for name, index, p in processes
            ],
        )
    show_grants(states)
    shares = list(_shares(states))
    if shares:
        click.echo()
        header = ("MACHINE", "THING", "MESH", "MODULE", "SHARE", "HAD", "TURNS", "NOW")
        print_table(header, shares)


def show_gpus(states: api.GpuStates) -> None:
    """What each GPU does; nothing where there are none."""
    from otter_ctl.cli.tables import print_table

    gpus = [(name, *_row(gpu)) for name, state in states.items() for gpu in state.gpus]
    if gpus:
        header = ("MACHINE", "GPU", "NAME", "USED", "MEMORY", "CLOCK", "TEMP", "POWER")
        print_table(header, gpus)


def gpu_lines(states: api.GpuStates) -> Iterator[tuple[str, bool]]:
    """What each GPU does, a line each, and whether nothing is known of it."""
    for name, state in states.items():
        for gpu in state.gpus:
            _, what, use, *rest = _row(gpu)
            words = ", ".join(str(w) for w in (what, use and f"{use} in use", *rest) if w)
            yield f"GPU {gpu.index} of {name}: {words}", bool(gpu.error)


def _row(gpu: api.GpuStatus) -> tuple[object, ...]:
    if gpu.error:
        return (gpu.index, gpu.error, None, None, None, None, None)
    memory = f"{_size(gpu.memory_used_bytes) or '-'} of {_size(gpu.memory_bytes) or '-'}"
    return (
        gpu.index,
        gpu.name + (" (MIG)" if gpu.mig else ""),
        None if gpu.utilisation is None else f"{gpu.utilisation:.0%}",
        memory if gpu.memory_bytes is not None else None,
        None if gpu.clock_hz is None else f"{gpu.clock_hz / 1e6:.0f} MHz",
        None if gpu.temperature_c is None else f"{gpu.temperature_c:.0f} C",
        None if gpu.power_w is None else f"{gpu.power_w:.0f} W",
    )


def _shares(states: dict[str, api.GpuState]) -> Iterator[tuple[object, ...]]:
    """By thing: what each may have, and had."""
    for name, state in states.items():
        for share in sorted(state.shares, key=lambda s: (s.thing, s.mesh, s.module)):
            together = [s for s in state.shares if s.thing == share.thing]
            weights = sum(s.weight for s in together) or 1.0
            held = sum(s.held_s for s in together) or 1.0
            now = "waits" if share.waiting else ""
            if share.holds_s is not None:
                now = f"has it, for {format_duration(share.holds_s)}"
            yield (
                name,
                share.thing,
                share.mesh,
                share.module,
                f"{share.weight / weights:.0%}",
                f"{share.held_s:.1f} s ({share.held_s / held:.0%})",
                share.turns,
                now,
            )


def _size(value: int | None) -> str | None:
    return None if value is None else format_size(value)


def _levels(states: api.GpuStates) -> Iterator[tuple[object, ...]]:
    for name, state in states.items():
        for fact in state.levels:
            gpu = "all" if fact.gpu is None else fact.gpu
            yield name, gpu, fact.level, "yes" if fact.there else "no", fact.why


def _grants(states: api.GpuStates) -> Iterator[tuple[object, ...]]:
    """What modules were given, and by which levels that holds."""
    for name, state in states.items():
        numbers = {gpu.uuid: gpu.index for gpu in state.gpus}
        for grant in state.grants:
            gpus = ", ".join(str(numbers.get(uuid, uuid)) for uuid in grant.uuids)
            memory = (
                "" if grant.memory == "none" else f"{_size(grant.memory_bytes)} ({grant.memory})"
            )
            time = "" if grant.time == "none" else f"{(grant.share or 0) * 100:.3g}% ({grant.time})"
            yield name, grant.mesh, grant.module, gpus or "none", memory, time


def _troubles(states: api.GpuStates) -> Iterator[tuple[str, bool]]:
    """A line each: what doesn't hold (bad), then why nothing better does."""
    for name, state in states.items():
        for grant in state.grants:
            where = f"{name}: module {grant.mesh}/{grant.module}"
            if grant.trouble:
                yield f"{where}: {grant.trouble}", True
            if grant.why:
                yield f"{where}: {grant.why}", False


@command.command(
    epilog="""\b
Examples:
  otterctl gpu verify
  otterctl gpu verify gpu-box --json | jq '.[].levels[]'
"""
)
@click.argument("machine", required=False, metavar="[MACHINE]")
@site_option
@json_option
@pass_session
def verify(session: Session, machine: str | None, as_json: bool) -> int:
    """Try what can hold modules to their parts of GPUs, and whether it does.

    Each level is tried for real: a limit of the driver is set on an empty group and read back, MPS
    is started if it isn't there, a turn is asked for. Of all machines, or of the one that is named.
    Exit status 1: a module isn't held as it should be.
    """

    async def question(client: Meshes) -> api.GpuStates:
        return await client.gpus(verify=True, machine=machine)

    states = ask(session, question)
    if as_json:
        print_json(states)
    else:
        _show_levels(states)
    return 1 if any(grant.trouble for s in states.values() for grant in s.grants) else 0


def _show_levels(states: api.GpuStates) -> None:
    from otter_ctl.cli.tables import print_table
    from otter_ctl.printable import printable_lines

    for name, state in states.items():
        if state.why:
            click.echo(f"{name}: {printable_lines(state.why)}", err=True)
    print_table(("MACHINE", "GPU", "LEVEL", "THERE", "WHY"), _levels(states))
    show_grants(states)


def show_grants(states: api.GpuStates) -> None:
    """What modules were given; nothing where none were."""
    from otter_ctl.cli.tables import print_table
    from otter_ctl.printable import printable_lines

    grants = list(_grants(states))
    if not grants:
        return
    click.echo()
    print_table(("MACHINE", "MESH", "MODULE", "GPUS", "MEMORY", "TIME"), grants)
    for line, bad in _troubles(states):
        click.secho(f"  {printable_lines(line)}", fg="red" if bad else None)
