"""64 bytes there and back, one after the other: what a message's way costs apart from its size.

The limit is a bare `BufferedProtocol` at both ends that writes from its callback, in plain asyncio
or in uvloop; blocking sockets are shown beside it.
"""

from __future__ import annotations

from benchmarks.row import Row
from benchmarks.transport import contenders as who
from benchmarks.transport.cases.case import Case
from benchmarks.transport.figures import ONE_CPU, Comparison, Results, latency_rows

TITLE = "64 B round trip"
BARE_TIMES = {(who.STREAM, True): 1.5, (who.MESH, True): 2.0, (who.STREAM, False): 1.15,
              (who.MESH, False): 1.3}  # fmt: skip
"""Contender, on one CPU -> at most so many times the bare echo."""
FASTER = {who.STREAM: 3, who.MESH: 3, who.STREAM_UVLOOP: 5, who.MESH_UVLOOP: 5}
"""On one CPU: so many times faster than pyzmq.asyncio."""


def goals(ours: str, placement: str) -> dict[str, tuple[str, float]]:
    """What issue 4 asks for, in words and as a factor of another's median."""
    alone = placement == ONE_CPU
    found: dict[str, tuple[str, float]] = {}
    if factor := BARE_TIMES.get((ours, alone)):
        found[f"at most {factor:g} × {who.BARE}"] = (who.BARE, factor)
    if alone:
        words = f"at least {FASTER[ours]} × faster than {who.PYZMQ_ASYNCIO}"
        found[words] = (who.PYZMQ_ASYNCIO, 1 / FASTER[ours])
    else:
        found[f"no slower than {who.PYZMQ_ASYNCIO}"] = (who.PYZMQ_ASYNCIO, 1.0)
    return found


def rows(results: Results) -> list[Row]:
    """Median and p99, for each of ours in each placement."""
    found: list[Row] = []
    for placement in results.placements:
        for ours in who.OURS:
            asked = Comparison(
                title=TITLE,
                placement=placement,
                ours=ours,
                limit=who.BARE_UVLOOP if ours.endswith("uvloop") else who.BARE,
                peers=(*who.PEERS, who.SOCKETS),
                goals=goals(ours, placement),
            )
            found += latency_rows(results, asked)
    return found


CASE = Case(
    name="round_trip",
    title=TITLE,
    pattern="echo",
    make=lambda: bytes(range(64)),
    contenders=(*who.OURS, *who.PEERS, who.SOCKETS, who.BARE, who.BARE_UVLOOP),
    limit=(who.BARE, who.BARE_UVLOOP),
    warm=200,
    count=1000,
    rounds=5,
    rows=rows,
    axis="µs, median and p99 (less is better)",
    shown=lambda figures: (figures.median_s * 1e6, figures.p99_s * 1e6),
)
