"""Two controllers at once: a plan that was made for another state of the mesh is refused. Pure."""

from __future__ import annotations

import time

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.state import DesiredMesh
from otter_agent.users import user_name

_HINT = "plan again and look at it; or --force, which undoes what the other did"


def check_unchanged(spec: api.MeshSpec, now: DesiredMesh | None, made_for: int | None) -> None:
    """Refuse a spec that was planned for another generation than the present one.

    Args:
        spec: What is asked for.
        now: What is desired so far; None: there is no such mesh.
        made_for: The generation for which it was planned, 0 for none; None: whichever.

    Raises:
        AgentError: `changed`, with by whom and when.
    """
    if made_for is None:
        return
    if now is None:
        if made_for == 0:
            return
        text = f"mesh {spec.name} was destroyed since this was planned"
        raise AgentError("changed", text, hint="apply again: it is made anew")
    if made_for == now.generation and spec.run == now.spec.run:
        return
    what = "changed" if made_for else "made"
    by = f" by {user_name(now.author)}" if now.author is not None else ""
    when = time.strftime("%H:%M:%S", time.localtime(now.changed))
    raise AgentError(
        "changed",
        f"mesh {spec.name} was {what}{by} at {when}, since this was planned "
        f"(generation {made_for}, now {now.generation}): nothing was done",
        hint=_HINT,
    )
