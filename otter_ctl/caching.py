"""What agents are asked about what they fetched once and keep. Must not know: how that is shown."""

from __future__ import annotations

from collections.abc import Sequence

from otter_agent import api
from otter_ctl.client import AgentClient


async def items(client: AgentClient) -> list[api.CacheItem]:
    """All of it."""
    return await client._get("/v1/cache", list[api.CacheItem], answer_s=None)


async def remove(client: AgentClient, names: Sequence[str], *, dry_run: bool) -> api.Pruned:
    """Remove some of it by names and globs, without any all that nobody uses.

    Raises:
        AgentFault: `not-found`, `in-use`: nothing was removed.
    """
    body = api.encode(api.CacheRemoval(names=tuple(names), dry_run=dry_run))
    path = "/v1/cache/remove"
    return await client._get(path, api.Pruned, "POST", body=body, answer_s=None)
