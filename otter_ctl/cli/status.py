"""`otterctl status`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import click

from net.links.words import host_text
from net.units import format_size
from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.budgets import budgets_by_hand
from otter_ctl.cli.common import ask, json_option, mesh_option, pass_session, pick_mesh, print_json
from otter_ctl.cli.gpu import gpu_lines
from otter_ctl.cli.links import show_cells, show_doubts, show_drivers, show_links, show_tunnels
from otter_ctl.cli.saying import say
from otter_ctl.cli.words import overcommitted
from otter_ctl.fetching import about
from otter_ctl.meshes import Meshes

GPUS_S = 2.0
"""A driver that hangs isn't waited for longer."""


@click.command(
    epilog="""\b
Examples:
  otterctl status
  otterctl status -m lab --json | jq '.modules[] | {name, state}'
"""
)
@mesh_option
@json_option
@pass_session
def command(session: Session, mesh: str | None, as_json: bool) -> None:
    """Show hosts, modules, links and streams of a mesh: what is asked and what is in force."""

    async def question(client: Meshes) -> tuple[api.MeshStatus, api.GpuStates]:
        status = await client.status(await pick_mesh(client, mesh))
        gpus: api.GpuStates = {}
        if not as_json:  # `gpu ls --json` has them
            with suppress(TimeoutError):
                async with asyncio.timeout(GPUS_S):
                    gpus = await client.gpus(status.mesh)
        return status, gpus

    status, gpus = ask(session, question)
    if as_json:
        print_json(status)
        return
    _show(status, gpus)


_SHOWN_PARTS = ("link", "queue", "total")
_LIMITS = ("CPU (asked)", "MEMORY (asked)")


def _show(status: api.MeshStatus, gpus: api.GpuStates) -> None:
    from otter_ctl.cli.tables import print_table
    from otter_ctl.printable import printable_lines

    owner = f" of {status.owner}" if status.owner else ""
    say(f"mesh {status.mesh}{owner}: {status.state}, run {status.spec.run}")
    if status.overcommit:
        say(f"  {overcommitted(status.overcommit)}", fg="yellow")
    if status.problem:
        say(f"  {status.problem}", fg="red")
    for machine in status.machines:
        _show_rootless(machine)
    for line, bad in gpu_lines(gpus):
        click.secho(f"  {printable_lines(line)}", fg="red" if bad else None)
    click.echo()
    print_table(
        ("HOST", "MACHINE", "ADDRESS", *_LIMITS),
        [
            (
                h.name,
                h.machine,
                h.address,
                _cores(h),
                _both(_size(h.in_force.memory_bytes), _size(h.asked.memory_bytes)),
            )
            for h in status.hosts
        ],
    )
    for told in status.hosts:
        if told.error:
            say(f"  host {told.name}: {told.error}", fg="red")
        if more := _more(told.asked, told.in_force):
            say(f"  host {told.name}: {more}")
        if told.note:
            say(f"  host {told.name}: {told.note}", fg="yellow")
    click.echo()
    print_table(
        ("MODULE", "HOST", "ADDRESS", "RUNTIME", *_LIMITS, "STATE", "RESTARTS", "PID", "WHY"),
        [
            (
                *(m.name, m.host, m.address, m.runtime),
                _both(m.in_force.cpu, m.asked.cpu),
                _both(_size(m.in_force.memory_bytes), _size(m.asked.memory_bytes)),
                *(m.state, m.restarts, m.pid, m.reason),
            )
            for m in status.modules
        ],
    )
    for module in status.modules:
        if more := _more(module.asked, module.in_force):
            say(f"  module {module.name}: {more}")
        if module.note:
            say(f"  module {module.name}: {module.note}", fg="yellow")
    for line in budgets_by_hand(status):
        say(f"  {line}", fg="yellow")
    for module in status.modules:
        if module.gpu is not None and module.gpu.trouble:
            say(f"  module {module.name}: its GPU: {module.gpu.trouble}", fg="red")
    _show_published(status)
    if status.links:
        click.echo()
        show_links(status.links)
        show_drivers(status.machines)
        show_tunnels(status.links)
    show_cells(status.cells)
    _show_streams(status.streams)
    show_doubts(status.fidelity)
    show_failures(status)


def _cores(host: api.HostStatus) -> str:
    """`0.48 (1 of 0.3)`: the machine's cores, and those asked where they are of another speed."""
    asked = host.asked
    if asked.speed is None:
        return _both(host.in_force.cpu, asked.cpu)
    cores = "all" if asked.cpu is None else f"{asked.cpu:g}"
    got = "-" if host.in_force.cpu is None else f"{host.in_force.cpu:.4g}"
    return f"{got} ({cores} of speed {asked.speed:g})"


_IN_TABLE = ("cpu", "speed", "memory_bytes")


def _more(asked: api.Budget, in_force: api.Budget) -> str:
    """`read 20MB/s (asked 25MB/s)`: what the table has no room for; "" if nothing was asked."""
    wanted, got = api.to_builtins(asked), api.to_builtins(in_force)
    words = []
    for name, value in wanted.items():
        if value is None or name in _IN_TABLE:
            continue
        now = got[name]
        text = host_text({name: value if now is None else now})
        if now is None:
            text += " asked"
        elif now != value:
            text += f" (asked {host_text({name: value})})"
        words.append(text)
    return ", ".join(words)


def _show_rootless(machine: api.MachineStatus) -> None:
    """What is said of a machine whose agent isn't root's."""
    if machine.user:
        say(f"  {machine.name}: without root, in namespaces of {machine.user}")
        for lack in machine.lacks:
            say(f"  {machine.name}: no {lack}", fg="yellow")


def _show_streams(streams: Sequence[api.StreamStatus]) -> None:
    from otter_ctl.cli.tables import print_table

    if not streams:
        return
    click.echo()
    times = [f"{part.upper()} p50/p99" for part in _SHOWN_PARTS]
    print_table(
        ("STREAM", "TRANSPORT", "MESSAGES", "RATE", "BYTES", "WAITING", "LOST", *times),
        [
            (
                stream.name,
                stream.transport,
                stream.messages,
                f"{stream.rate_per_s:.3g}/s",
                about(stream.bytes),
                stream.waiting,
                stream.dropped + stream.expired,
                *(_latency(stream.latency.get(part)) for part in _SHOWN_PARTS),
            )
            for stream in streams
        ],
    )


def _latency(latency: api.Latency | None) -> str:
    return f"{_ms(latency.p50_s)}/{_ms(latency.p99_s)}" if latency else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g}ms" if seconds < 1 else f"{seconds:.3g}s"


def _show_published(status: api.MeshStatus) -> None:
    from otter_ctl.cli.tables import print_table

    rows = [
        (f"{port.listen}:{port.listen_port}/{port.protocol}", m.name, port.port, port.host)
        for m in status.modules
        for port in m.published
    ]
    if rows:
        click.echo()
        print_table(("PUBLISHED", "MODULE", "PORT", "ENTERS AT"), rows)


def show_failures(status: api.MeshStatus, *, err: bool = False) -> None:
    """The last log lines of modules that failed or restart."""
    from otter_ctl.cli.logs import printable

    for module in status.modules:
        if module.log_tail:
            say(f"\n{module.name}: last lines of its log", err=err)
            for line in module.log_tail:
                click.echo(f"  | {printable(line)}", err=err)


def _size(value: int | None) -> str | None:
    return None if value is None else format_size(value)


def _both(in_force: object, asked: object) -> str:
    """`0.5`; `0.5 (1)`: not what was asked; `0.5 (unlimited)`: its host's, it asked for nothing."""
    shown, wanted = _limit(in_force), _limit(asked)
    return shown if shown == wanted else f"{shown} ({wanted})"


def _limit(value: object) -> str:
    if value is None:
        return "unlimited"
    return f"{value:g}" if isinstance(value, float) else str(value)
