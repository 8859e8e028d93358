"""What became of packets of a direction. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """What became of packets; `bytes` are those of IP packets that arrived."""

    packets: int = 0
    bytes: int = 0
    duplicated: int = 0
    corrupted: int = 0
    marked: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def drop(self, cause: str) -> None:
        """Count a dropped packet."""
        self.dropped[cause] = self.dropped.get(cause, 0) + 1
