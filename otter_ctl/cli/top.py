"""`otterctl top`."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click
import msgspec

from net.units import format_size
from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import json_option, mesh_option, pass_session, pick_mesh, print_json, run
from otter_ctl.cli.gpu import show_gpus
from otter_ctl.cli.tables import print_table

HEADER = ("KIND", "NAME", "HOST", "CPU", "OF", "MEMORY", "OF", "GPU MEMORY")


class Row(msgspec.Struct, frozen=True):
    """What one host or module uses."""

    kind: str
    name: str
    host: str
    cpu: float | None
    """Cores, between two looks."""
    cpu_limit: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    gpu_memory_bytes: int | None
    """On all GPUs, as far as they tell it; None: it has no process there, or none is told."""


@click.command(
    epilog="""\b
Examples:
  otterctl top
  otterctl top --every 5 -m lab
  otterctl top --json | jq 'map(select(.kind == "module")) | max_by(.cpu).name'
"""
)
@mesh_option
@click.option("--every", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True,
              metavar="SECONDS", help="Between two looks.")  # fmt: skip
@click.option("--once", is_flag=True, help="Show one look, over that time, and end.")
@json_option
@pass_session
def command(session: Session, mesh: str | None, every: float, once: bool, as_json: bool) -> None:
    """Show the cores and the memory that hosts and modules use, the busiest first; then GPUs.

    On a terminal it goes on until Ctrl-C; else, and with --json, it shows one look.
    """
    lasting = sys.stdout.isatty() and not (once or as_json)

    async def show() -> None:
        async with connect(session) as client:
            name = await pick_mesh(client, mesh)
            before = await client.usage(name)
            while True:
                await asyncio.sleep(every)
                now = await client.usage(name)
                gpus = await client.gpus(name)
                rows = used(before, now, await client.budgets(name), _on_gpus(gpus, name))
                _draw(rows, gpus, as_json=as_json, wipe=lasting)
                if not lasting:
                    return
                before = now

    run(show())


def _on_gpus(states: api.GpuStates, mesh: str) -> Mapping[str, int]:
    """Module -> bytes that its processes have on GPUs; without those of which nobody tells it."""
    found: dict[str, int] = defaultdict(int)
    gpus = (gpu for state in states.values() for gpu in state.gpus)
    for process in (process for gpu in gpus for process in gpu.processes):
        if process.mesh == mesh and process.memory_bytes is not None:
            found[process.module] += process.memory_bytes
    return found


def used(
    before: Iterable[api.Usage],
    now: Iterable[api.Usage],
    budgets: Iterable[api.BudgetStatus],
    on_gpus: Mapping[str, int],
) -> list[Row]:
    """Hosts, then modules, each the busiest first."""
    then = {(one.kind, one.name): one for one in before}
    limits = {(one.kind, one.name): one.in_force for one in budgets}
    rows = []
    for one in now:
        limit = limits.get((one.kind, one.name), api.Budget())
        rows.append(
            Row(
                kind=one.kind,
                name=one.name,
                host=one.host,
                cpu=_cores(then.get((one.kind, one.name)), one),
                cpu_limit=limit.cpu,
                memory_bytes=one.memory_bytes,
                memory_limit_bytes=limit.memory_bytes,
                gpu_memory_bytes=on_gpus.get(one.name) if one.kind == "module" else None,
            )
        )
    rows.sort(key=lambda row: (row.kind, -(row.cpu or 0.0), row.name))
    return rows


def _cores(before: api.Usage | None, now: api.Usage) -> float | None:
    """None: not known, or another life since."""
    if before is None or before.cpu_s is None or now.cpu_s is None or now.cpu_s < before.cpu_s:
        return None
    span = now.at_s - before.at_s
    return (now.cpu_s - before.cpu_s) / span if span > 0 else None


def _draw(rows: list[Row], gpus: api.GpuStates, *, as_json: bool, wipe: bool) -> None:
    if as_json:
        print_json([*rows, *_gpu_rows(gpus)])
        return
    if wipe:
        click.clear()
    print_table(HEADER, [_texts(row) for row in rows])
    if any(state.gpus for state in gpus.values()):
        click.echo()
        show_gpus(gpus)


def _gpu_rows(states: api.GpuStates) -> Iterator[dict[str, Any]]:
    """Of each GPU all that its agent says of it, as in `gpu ls --json`, and where it is."""
    for machine, state in states.items():
        for gpu in state.gpus:
            yield {"kind": "gpu", "machine": machine, **msgspec.structs.asdict(gpu)}


def _texts(row: Row) -> tuple[object, ...]:
    return (
        row.kind,
        row.name,
        row.host,
        _text(row.cpu, lambda cores: f"{cores:.2f}"),
        _text(row.cpu_limit, lambda cores: f"{cores:g}"),
        _text(row.memory_bytes, _about),
        _text(row.memory_limit_bytes, format_size),
        _text(row.gpu_memory_bytes, _about),
    )


def _about(size: float) -> str:
    """Rounded: what is in use changes all the time."""
    return f"{size / 2**20:.0f}MiB" if size < 10 << 30 else f"{size / 2**30:.1f}GiB"


def _text(value: float | None, shown: Callable[..., str]) -> str | None:
    return None if value is None else shown(value)
