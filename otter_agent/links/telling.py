"""Events of links: what was requested, and what is in force. Pure."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from net.links.changes import Change
from net.links.words import link_text
from otter_agent.links.base import Outcome
from otter_agent.links.ways import Way

Layer = Literal["timeline", "shape"]
LAYERS: tuple[Layer, ...] = ("timeline", "shape")
"""From below; the topology is beneath both."""


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
