"""What is told of links: events, and what became of what was asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from net.errors import OtterError
from net.links.changes import Change
from net.links.spec import LinkSpec
from net.links.words import link_text
from otter_agent.errors import NetworkError
from otter_agent.links.base import Outcome
from otter_agent.links.ways import Way

Layer = Literal["timeline", "shape"]
LAYERS: tuple[Layer, ...] = ("timeline", "shape")
"""From below; the topology is beneath both."""


_LEAST = 1e-6
"""Of a delay or loss that is asked: less may be nothing to a driver."""


class Tell(Protocol):
    """Records an event of the mesh."""

    def __call__(
        self,
        kind: str,
        subject: str,
        text: str,
        state: str = "",
        data: dict[str, Any] | None = None,
    ) -> None:
        """Record it."""
        ...


class Keep(Protocol):
    """Where shapes are kept across the agent's lives."""

    def shapes(self, mesh: str) -> dict[tuple[str, str, str], bytes]:
        """All of a mesh."""
        ...

    def put_shapes(self, mesh: str, shapes: Mapping[tuple[str, str, str], bytes | None]) -> None:
        """Keep, or forget with None. Raises `AgentError` on a full disk."""
        ...


def told(
    way: Way,
    layer: Layer,
    change: Change,
    outcome: Outcome,
    *,
    reset: bool = False,
    ended: bool = False,
    for_s: float | None = None,
    by: str = "",
) -> tuple[str, str, str, str, dict[str, Any]]:
    """What `Tell` takes, about one change of one direction.

    Args:
        way: Which.
        layer: Who asks.
        change: For what.
        outcome: What came of it.
        reset: All that the layer asked before was undone first.
        ended: Its time is over: this is what is undone.
        for_s: It will end by itself.
        by: Name of who asks.
    """
    what = link_text(change.asked())
    words = [f"{layer}:", "reset" if reset else "", what, "is over" if ended else ""]
    words += [f"for {for_s:g}s" if for_s is not None else "", f"(by {by})" if by else ""]
    applied = None if outcome.applied is None else outcome.applied.asked()
    if outcome.error is not None:
        result = f"failed: {outcome.error}"
    elif applied is None:
        result = "not in force yet"
    else:
        result = f"in force: {link_text(applied) or 'nothing'}"
    state = "failed" if outcome.error else "ended" if ended else "changed"
    data = {"layer": layer, "requested": change.asked(), "applied": applied}
    return "link", str(way), f"{' '.join(filter(None, words))}; {result}", state, data


def is_lost(asked: LinkSpec, outcome: Outcome) -> bool:
    """Whether something of what would be felt isn't in force, though nobody said why."""
    applied = outcome.applied
    if applied is None or outcome.error is not None:
        return False
    felt = ("delay_s", "loss_ratio", "rate_bps")
    missing = any(
        (getattr(asked, name) or 0.0) > _LEAST and getattr(applied, name) is None for name in felt
    )
    return missing or (asked.up is False and applied.up is not False)


def as_network_error(error: OtterError) -> NetworkError:
    """A driver's error as the contract has it."""
    if isinstance(error, NetworkError):
        return error
    return NetworkError("links", "shape", "", str(error))
