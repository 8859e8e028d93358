"""The way into a container by `docker exec`; a stand-in runs on the spot what goes inside.

tests/integration/machine/test_container.py has an engine's own.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from otter_ctl.client import AgentClient
from otter_ctl.enclosed import enclosed
from otter_ctl.errors import AgentUnreachable

DOCKER = f"""#!/bin/sh
echo $$ >>"$SEEN"
[ "$1 $2 $3" = "exec -i box" ] || {{ echo "No such container: $3" >&2; exit 1; }}
shift 4
exec {sys.executable} "$@"
"""


@pytest.fixture
def seen(tmp_path, monkeypatch) -> Path:
    """The pids of those that were started."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    return tmp_path / "seen"


async def echo(reader, writer):
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def all_ended(seen: Path) -> None:
    """Whatever was started, soon."""
    async with asyncio.timeout(10):
        while any(Path("/proc", pid).exists() for pid in seen.read_text().split()):
            await asyncio.sleep(0.01)


async def test_what_is_sent_comes_through_both_ways_and_nothing_is_left(peer, seen):
    data = os.urandom(5 << 20)
    async with peer.serving(echo):
        stream = await enclosed("box", str(peer.socket))()
        heard = bytearray()
        async with asyncio.TaskGroup() as group:
            group.create_task(stream.send(data))
            while len(heard) < len(data):
                heard += await stream.read()
        assert heard == data
        await stream.close()
        await all_ended(seen)
        async with asyncio.timeout(10):
            await peer.gone.wait()


async def test_it_ends_where_the_agent_lets_go(peer, seen):
    async def leave(reader, writer):
        writer.write(b"bye")

    async with peer.serving(leave):
        stream = await enclosed("box", str(peer.socket))()
        assert await stream.read() == b"bye"
        assert await stream.read() == b""
        stream.abort()
        await all_ended(seen)


@pytest.mark.parametrize(
    ("container", "why"), [("box", "no agent answers at"), ("none", "No such container: none")]
)
async def test_why_there_is_no_way_in(peer, seen, container, why):
    async with AgentClient(peer.socket, "box", enclosed(container, str(peer.socket))) as client:
        with pytest.raises(AgentUnreachable, match=why):
            await client.info()


async def test_without_docker_it_is_said(peer, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    async with AgentClient(peer.socket, "box", enclosed("box", str(peer.socket))) as client:
        with pytest.raises(AgentUnreachable, match="there is no `docker` here"):
            await client.info()
