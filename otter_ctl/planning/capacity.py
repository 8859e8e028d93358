"""Whether a machine can carry the links of a topology in user space, told before it is tried.

What one core carries was measured (`make bench ARGS=capacity`) and stands in capacity.toml; links
that the kernel shapes are not counted, nor are those that ask for no rate: what they carry is
whatever there is. A mesh with a cell that the kernel can't share is carried in user space, all of
it (docs/links.md). Must not know: agents, how links are carried.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from net.links.spec import LinkSpec
from net.links.traces.generate import Recipe
from net.links.traces.trace import Manner, Trace
from net.units import format_rate
from otter_ctl.topology.model import Link, Topology, TraceUse

PACKET_BYTES = 1500
"""A full packet: more of smaller ones cost as much each."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What one core carries before a run is no longer what was asked for.

    Attributes:
        machine: On which that was measured.
        links: Carried at once, ascending.
        packets_per_s: With as many.
    """

    machine: str
    links: tuple[int, ...]
    packets_per_s: tuple[float, ...]

    def at(self, links: int) -> float:
        """Packets a second with so many links; between two that were measured by their logs."""
        places = range(1, len(self.links))
        following = next((n for n in places if self.links[n] >= links), len(self.links) - 1)
        a, b = self.links[following - 1], self.links[following]
        low, high = self.packets_per_s[following - 1], self.packets_per_s[following]
        share = (math.log(max(1, links)) - math.log(a)) / (math.log(b) - math.log(a))
        return low + (high - low) * min(1.0, max(0.0, share))


def carries_bps(driver: str) -> float:
    """How fast the packets of a message get through a link at most, by who makes it scarce."""
    return 8 * PACKET_BYTES * curve().at(1) if driver == "tun" else math.inf


@cache
def curve() -> Curve:
    """The one that was measured."""
    from importlib import resources  # takes 4 ms

    data = resources.files("otter_ctl.planning").joinpath("capacity.toml").read_text("utf-8")
    known = tomllib.loads(data)["tun"]
    return Curve(known["machine"], tuple(known["links"]), tuple(known["packets_per_s"]))


def too_much(topology: Topology, driver: str, cores: int) -> Iterator[str]:
    """Why the links of a topology will not all be what is asked, if they carry what they may.

    Args:
        topology: What is asked.
        driver: Of the machine, as its agent chose it.
        cores: That the machine has.
    """
    if driver != "tun" and not (driver == "netem" and _uneven(topology)):
        return
    rates = _rates(topology)
    most = curve().at(len(topology.links))
    asked = sum(rate for _, rate in rates) / (8 * PACKET_BYTES)
    if asked <= most:
        return
    name, rate = max(rates, key=lambda one: one[1])
    need = asked / most
    beside = "" if cores > 1 else ", and this machine has no other for its modules"
    kernel = (
        "use a kernel with sch_netem"
        if driver == "tun"
        else "give a cell's members one efficiency that stays, which the kernel can share"
    )
    yield (
        f"the links' rates add up to {format_rate(float(f'{sum(r for _, r in rates):.3g}'))}, or "
        f"{asked:,.0f} full packets/s: the process that carries them here (driver tun) has one core"
        f"{beside}, and carries about {most:,.0f}/s over {len(topology.links)} links "
        f"(measured on {curve().machine}), so at full load {need:.1f} times what it can; lower the "
        f"rates (most has {name}: {format_rate(rate)}), put hosts on several machines, or {kernel}"
        ", see docs/fidelity.md"
    )


def _rates(topology: Topology) -> list[tuple[str, float]]:
    """The most that each direction, or medium, may carry at any time."""
    media: dict[str, float] = {}
    found: list[tuple[str, float]] = []
    for link, spec, trace, events in _ways(topology):
        known = [spec.rate_bps, _of_trace(trace), *events]
        rate = max((one for one in known if one is not None), default=0.0)
        if spec.medium is not None:
            media[spec.medium] = max(media.get(spec.medium, 0.0), rate)
        elif rate:
            found.append((f"link {link.name}", rate))
    return found + [(f"cell {medium.partition(':')[0]}", rate) for medium, rate in media.items()]


def _uneven(topology: Topology) -> bool:
    """Whether members of a cell have different rates, or may come to have: by traces, by events.

    Those that all play one trace in one manner don't, as agents have it (`links/sharing.py`).
    """
    media: dict[str, tuple[float | TraceUse | None, ...]] = {}
    for _, spec, trace, events in _ways(topology):
        if spec.medium is not None:
            asked = (spec.rate_bps, None if _of_trace(trace) is None else trace, *events)
            if media.setdefault(spec.medium, asked) != asked:
                return True
    return False


def _ways(
    topology: Topology,
) -> Iterator[tuple[Link, LinkSpec, TraceUse | None, Sequence[float]]]:
    """Each direction: its link, what it asks for, its trace, the rates of events that change it."""
    for link in topology.links:
        for spec, trace, side in (
            (link.forward, link.forward_trace, "forward"),
            (link.reverse, link.reverse_trace, "reverse"),
        ):
            if spec is not None:
                yield link, spec, trace, _of_events(topology, link, side)


def _of_trace(use: TraceUse | None) -> float | None:
    if use is None or "rate_bps" in use.manner.without:
        return None
    if isinstance(use.trace, Trace):
        extent = use.trace.extent("rate_bps")
        most = extent[1] if extent is not None else None
    else:
        most = _drawn(use.trace)
    return None if most is None else most * _scale(use.manner)


def _drawn(recipe: Recipe) -> float | None:
    return max(recipe.rates_bps, default=None)


def _scale(manner: Manner) -> float:
    return manner.scale.get("rate_bps", 1.0)


def _of_events(topology: Topology, link: Link, side: str) -> Sequence[float]:
    found = []
    for event in topology.events:
        one_way = event.forward if side == "forward" else event.reverse
        if link.name in event.both or link.name in one_way:
            rate = event.change.values.get("rate_bps")
            if isinstance(rate, int | float):
                found.append(float(rate))
    return found
