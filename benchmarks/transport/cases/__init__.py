"""The cases by name: a file here with one `Case`, named in CASES."""

from __future__ import annotations

from benchmarks.transport.cases import arrays, messages, round_trip
from benchmarks.transport.cases.case import Case

__all__ = ["CASES", "Case"]

CASES: dict[str, Case] = {
    "round_trip": round_trip.CASE,
    "messages": messages.CASE,
    "arrays": arrays.CASE,
}
