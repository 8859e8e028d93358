"""Names that other machines know are completed, though who asks has yet to log in there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from otter_ctl.cli import Session, elsewhere
from otter_ctl.client import AgentClient
from otter_ctl.connection import unix
from otter_ctl.local import LocalAgent


async def slow(client: AgentClient) -> list[str]:
    for _ in range(10):
        await asyncio.sleep(0)
    return [f"models-of-{client.machine}", "other"]


def test_who_is_far_has_longer_than_who_is_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nowhere = tmp_path / "no.sock"
    clients = {
        "far": AgentClient(nowhere, "far", unix(nowhere)),
        "near": AgentClient(nowhere, "near"),
    }

    async def of(names: list[str]) -> dict[str, AgentClient]:
        return {name: clients[name] for name in names}

    @contextlib.asynccontextmanager
    async def everybody(session: Session) -> AsyncIterator[Any]:
        yield SimpleNamespace(agents=SimpleNamespace(names=[*clients], machines=clients, of=of))

    monkeypatch.setattr(elsewhere, "everybody", everybody)
    monkeypatch.setattr(elsewhere, "COMPLETE_WITHIN_S", 0.0)
    ctx = click.Context(click.Command("rm"), obj=Session(LocalAgent(tmp_path), tmp_path))
    ctx.params["on"] = "*"
    found = elsewhere.complete_on(ctx, slow, "mod")
    assert [item.value for item in found] == ["models-of-far"]
