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
    """Show the GPUs of machines, and modules that share them."""


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

    gpus = [(name, gpu) for name, state in states.items() for gpu in state.gpus]
    for name, state in states.items():
        if state.why:
            click.echo(f"{name}: {printable_lines(state.why)}", err=True)
    if gpus:
        header = ("MACHINE", "GPU", "NAME", "USED", "MEMORY", "CLOCK", "TEMP", "POWER")
        print_table(header, [(name, *_row(gpu)) for name, gpu in gpus])
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
    shares = list(_shares(states))
    if shares:
        click.echo()
        header = ("MACHINE", "THING", "MESH", "MODULE", "SHARE", "HAD", "TURNS", "NOW")
        print_table(header, shares)


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
