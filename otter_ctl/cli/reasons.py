"""`plan --explain`: why modules are where they are, and what is expected of streams and links."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click

from net.units import format_duration, format_rate, format_size
from otter_ctl.cli.saying import say
from otter_ctl.cli.tables import print_table
from otter_ctl.placing import Reason
from otter_ctl.planning.model import Plan
from otter_ctl.planning.prediction import StreamForecast

PARTS = {
    "transport_s": "MODULES",
    "delay_s": "DELAYS",
    "rate_s": "RATES",
    "driver_s": "DRIVERS",
    "tcp_s": "TCP",
    "jitter_s": "JITTER",
    "network_s": "NETWORK",
    "tunnel_s": "TUNNELS",
    "waiting_s": "WAITING",
}
"""Parts of a latency -> what people read."""
MOST = 8
"""Other hosts told of a module; the rest is counted, and in `--json`."""


def show_reasons(plan: Plan) -> None:
    """Print them for people."""
    hosts = plan.hosting.reasons() if plan.hosting else []
    modules = plan.placement.reasons() if plan.placement else []
    for kind, reason in [*(("host", x) for x in hosts), *(("module", x) for x in modules)]:
        click.echo()
        room = f"machine {reason.room}" if kind == "host" else reason.room
        say(f"{kind} {reason.item}: on {room}: {reason.why}", bold=True)
        for line in _others(reason):
            say(f"  not on {line}")
    if plan.forecast.streams:
        click.echo()
        header = ("STREAM", "MESSAGE", "LATENCY", "OVER", "NOTE")
        print_table(header, [_stream(stream) for stream in plan.forecast.streams])
        _show_parts(plan.forecast.streams)
    if plan.forecast.links:
        click.echo()
        print_table(
            ("LINK", "FROM", "TO", "RATE", "EXPECTED", "USE"),
            [
                (
                    *(way.link, way.source, way.target, format_rate(way.rate_bps)),
                    *(format_rate(round(way.expected_bps)), f"{way.utilisation:.0%}"),
                )
                for way in plan.forecast.links
            ],
        )


def placed_lines(plan: Plan) -> Iterable[str]:
    """Which machine carries which hosts, where there was a choice."""
    if plan.hosting is None or plan.hosting.request is None:
        return
    by_machine: dict[str, list[str]] = {}
    for host, machine in plan.hosting.machines.items():
        by_machine.setdefault(machine, []).append(host)
    for machine, hosts in by_machine.items():
        more = f" and {len(hosts) - MOST} more" if hosts[MOST:] else ""
        yield f"on machine {machine}: {', '.join(hosts[:MOST])}{more}"


def reasons_document(plan: Plan) -> dict[str, object]:
    """Why, for `--json`."""
    reasons = plan.placement.reasons() if plan.placement else []
    hosting = plan.hosting.reasons() if plan.hosting else []
    return {
        "hosting": [
            {
                "host": x.item,
                "machine": x.room,
                "why": x.why,
                "cost_s": x.cost_s,
                "others": x.others,
                "image_bytes": x.image_bytes,
            }
            for x in hosting
        ],
        "placement": [
            {
                "module": x.item,
                "host": x.room,
                "why": x.why,
                "cost_s": x.cost_s,
                "others": x.others,
                "image_bytes": x.image_bytes,
            }
            for x in reasons
        ],
    }


def _others(reason: Reason) -> Iterable[str]:
    others = list(reason.others.items())
    for room, why in others[:MOST]:
        yield f"{room}: {why}"
    if others[MOST:]:
        yield f"{len(others) - MOST} more (see --json)"


def _stream(stream: StreamForecast) -> tuple[str, ...]:
    size = format_size(round(stream.message_bytes)) + ("" if stream.expected else " (assumed)")
    latency = "no way there in time" if stream.latency_s is None else _rounded(stream.latency_s)
    return stream.stream, size, latency, ", ".join(stream.links), stream.approximate


def _show_parts(streams: Sequence[StreamForecast]) -> None:
    """What latencies are made of: columns that some stream has."""
    told = [(stream.stream, stream.parts) for stream in streams if stream.parts is not None]
    names = [n for n in PARTS if any(getattr(parts, n) for _, parts in told)]
    if not names:
        return
    click.echo()
    print_table(
        ("LATENCY OF", *(PARTS[name] for name in names)),
        [(stream, *(_rounded(getattr(parts, name)) for name in names)) for stream, parts in told],
    )


def _rounded(seconds: float) -> str:
    return format_duration(float(f"{seconds:.3g}"))
