"""What agents are asked about what outlives meshes: what they fetched once and keep, volumes.

Must not know: how that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from otter_agent import api
from otter_ctl.client import AgentClient


async def items(client: AgentClient) -> list[api.CacheItem]:
    """All of it."""
    return await client.ask("/v1/cache", list[api.CacheItem], answer_s=None)


async def remove(client: AgentClient, names: Sequence[str], *, dry_run: bool) -> api.Pruned:
    """Remove some of it by names and globs, without any all that nobody uses.

    Raises:
        AgentFault: `not-found`, `in-use`: nothing was removed.
    """
    body = api.encode(api.CacheRemoval(names=tuple(names), dry_run=dry_run))
    path = "/v1/cache/remove"
    return await client.ask(path, api.Pruned, "POST", body=body, answer_s=None)


async def volumes(client: AgentClient) -> list[api.VolumeInfo]:
    """Named volumes there."""
    return await client.ask("/v1/volumes", list[api.VolumeInfo], answer_s=None)


async def remove_volume(client: AgentClient, name: str) -> None:
    """Remove one with all that is in it. Raises `AgentFault`: `in-use`, `not-found`."""
    path = f"/v1/volumes/{quote(name, safe='')}"
    async with client.request("DELETE", path, answer_s=None):
        pass
