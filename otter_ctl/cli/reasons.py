"""`plan --explain`: why modules are where they are, and what is expected of streams and links."""

from __future__ import annotations

from collections.abc import Iterable

import click

from net.units import format_duration, format_rate, format_size
from otter_ctl.cli.tables import print_table
from otter_ctl.placing import Reason
from otter_ctl.planning.model import Plan
from otter_ctl.planning.prediction import StreamForecast

MOST = 8
"""Other hosts told of a module; the rest is counted, and in `--json`."""


def show_reasons(plan: Plan) -> None:
    """Print them for people."""
    for reason in plan.placement.reasons() if plan.placement else ():
        click.echo()
        click.secho(f"module {reason.item}: on {reason.room}: {reason.why}", bold=True)
        for line in _others(reason):
            click.echo(f"  not on {line}")
    if plan.forecast.streams:
        click.echo()
        header = ("STREAM", "MESSAGE", "LATENCY", "OVER", "NOTE")
        print_table(header, [_stream(stream) for stream in plan.forecast.streams])
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


def reasons_document(plan: Plan) -> dict[str, object]:
    """Why, for `--json`."""
    reasons = plan.placement.reasons() if plan.placement else []
    return {
        "placement": [
            {"module": x.item, "host": x.room, "why": x.why, "cost_s": x.cost_s, "others": x.others}
            for x in reasons
        ]
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


def _rounded(seconds: float) -> str:
    return format_duration(float(f"{seconds:.3g}"))
