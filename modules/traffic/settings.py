"""What a traffic module is asked to do, from its environment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from net import units

KINDS = ("constant", "poisson", "on-off", "tcp", "replay")
PORT = 5001
LEAST_BYTES, MOST_BYTES = 52, 1500
"""Of an IP packet: headers and what each packet tells; an MTU."""
_PREFIX = "OTTER_TRAFFIC_"
_KNOWN = frozenset(
    {"TO", "KIND", "PORT", "RATE", "SIZE", "ON", "OFF", "FLOWS", "FOR", "SEED", "FILE", "SPEED",
     "LOOP", "EVERY"}
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it.

    Attributes:
        to: Names of sinks, each of which gets all of this; none: this is a sink.
        rate_bps: Of IP packets, per sink; with `tcp`: of all flows together, 0: as fast as can be.
        size: Bytes of an IP packet.
        for_s: End after so long; 0: never.
        every_s: How often a line is printed.
    """

    to: tuple[str, ...] = ()
    kind: str = "constant"
    port: int = PORT
    rate_bps: float = 1e6
    size: int = 1200
    on_s: float = 1.0
    off_s: float = 1.0
    flows: int = 1
    for_s: float = 0.0
    seed: int = 0
    file: str = ""
    speed: float = 1.0
    loop: bool = False
    every_s: float = 5.0


def read(environment: Mapping[str, str]) -> Settings:
    """Settings as the topology writes them.

    Raises:
        ValueError: One makes no sense; says which, and what is accepted.
    """
    given = {
        name.removeprefix(_PREFIX): value.strip()
        for name, value in environment.items()
        if name.startswith(_PREFIX) and value.strip()
    }
    if unknown := sorted(set(given) - _KNOWN):
        known = ", ".join(_PREFIX + name for name in sorted(_KNOWN))
        raise ValueError(f"{_PREFIX}{unknown[0]} is unknown; there are: {known}")
    kind = given.get("KIND", "constant")
    if kind not in KINDS:
        raise ValueError(f"{_PREFIX}KIND={kind!r}: one of {', '.join(KINDS)}")
    if kind == "replay" and not given.get("FILE"):
        raise ValueError(f"{_PREFIX}KIND=replay needs {_PREFIX}FILE")
    rate = 0.0 if kind == "tcp" else 1e6
    return Settings(
        to=tuple(filter(None, (name.strip() for name in given.get("TO", "").split(",")))),
        kind=kind,
        port=_whole(given, "PORT", PORT, 1, 65535),
        rate_bps=_read(given, "RATE", units.rate, rate),
        size=_whole(given, "SIZE", 1200, LEAST_BYTES, MOST_BYTES),
        on_s=_read(given, "ON", units.duration, 1.0, above=0.0),
        off_s=_read(given, "OFF", units.duration, 1.0, above=0.0),
        flows=_whole(given, "FLOWS", 1, 1, 1000),
        for_s=_read(given, "FOR", units.duration, 0.0),
        seed=_whole(given, "SEED", 0, 0, 1 << 62),
        file=given.get("FILE", ""),
        speed=_read(given, "SPEED", float, 1.0, above=0.0),
        loop=given.get("LOOP", "no").lower() in ("1", "yes", "true", "on"),
        every_s=_read(given, "EVERY", units.duration, 5.0, above=0.0),
    )


def _read(
    given: Mapping[str, str], name: str, how: object, usual: float, above: float | None = None
) -> float:
    if name not in given:
        return usual
    try:
        value = float(how(given[name]))  # type: ignore[operator]
    except ValueError as error:
        raise ValueError(f"{_PREFIX}{name}={given[name]!r}: {error}") from error
    if not value >= 0 or value == float("inf") or (above is not None and value <= above):
        raise ValueError(f"{_PREFIX}{name}={given[name]!r}: must be above 0")
    return value


def _whole(given: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    if name not in given:
        return usual
    try:
        value = int(units.size(given[name])) if name == "SIZE" else int(given[name])
    except ValueError as error:
        raise ValueError(f"{_PREFIX}{name}={given[name]!r}: a whole number is needed") from error
    if not least <= value <= most:
        raise ValueError(f"{_PREFIX}{name}={given[name]!r}: {least} to {most}")
    return value
