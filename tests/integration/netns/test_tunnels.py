"""Links to other machines that a process carries: several meshes have one, and all hear of its end.

The other machine isn't there: what is looked at is who carries what.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import netns

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.talk import LENGTH, pack
from otter_agent.network import Network
from otter_agent.tunnels import protocol

WITHIN_MS = 10_000


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Network]:
    made = Network(netns.new_id(), tmp_path)
    try:
        yield made
    finally:
        for mesh in made.meshes():
            made.remove(mesh)
        made.remove_others(set())


def mesh(name: str, number: int) -> api.MeshSpec:
    """A host with a link to another machine."""
    tunnel = api.Tunnel(
        host="far", local="127.0.0.1", remote="127.0.0.2", vni=number, key="0" * 32,
        kind="udp", port=24790, remote_port=24790,
    )  # fmt: skip
    link = api.Link(name="radio", a="h0", b="far", tunnel=tunnel)
    return api.MeshSpec(name=name, run="test", hosts=(netns.chain_host(0, 1),), links=(link,))


def carriers(folder: Path) -> list[int]:
    """pids of what carries tunnels of an agent whose run folder this is."""
    mark = os.fsencode(folder / "tunnels/tunnels.s")
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in words:
            found.append(int(path.parent.name))
    return found


def ended(pid: int, how: signal.Signals) -> None:
    """Send a signal, and wait for the end."""
    watched = os.pidfd_open(pid)
    os.kill(pid, how)
    assert select.select([watched], [], [], WITHIN_MS / 1000)[0]
    os.close(watched)


def test_one_that_was_killed_is_lost_to_all_whoever_comes_first(
    agent: Network, tmp_path: Path
) -> None:
    one, other = mesh("one", 1), mesh("other", 2)
    agent.converge(one)
    agent.converge(other)
    assert agent.lost_tunnels() == []
    (pid,) = carriers(tmp_path)
    ended(pid, signal.SIGKILL)
    agent.converge(one)  # before anybody looks
    assert "other" in agent.lost_tunnels()
    agent.converge(other)
    assert agent.lost_tunnels() == []
    assert set(agent.tunnels(one)) == set(agent.tunnels(other)) == {"radio"}


def test_one_that_hangs_is_lost_to_all_that_it_carried(
    agent: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = mesh("one", 1), mesh("other", 2)
    agent.converge(one)
    agent.converge(other)
    (pid,) = carriers(tmp_path)
    os.kill(pid, signal.SIGSTOP)
    with monkeypatch.context() as hasty:  # a process that is loaded first takes longer
        hasty.setattr("otter_agent.tunnels.client._ANSWER_S", 0.5)
        with pytest.raises(NetworkError, match="timed out"):
            agent.converge(one)
    agent.converge(one)  # as the keeper of a mesh does, after a while
    assert "other" in agent.lost_tunnels()
    agent.converge(other)
    assert set(agent.tunnels(one)) == set(agent.tunnels(other)) == {"radio"}


def test_one_of_another_version_gives_way(
    agent: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It outlives an upgrade of its agent, whose words it may not know."""
    one, other = mesh("one", 1), mesh("other", 2)
    agent.converge(other)
    (before,) = carriers(tmp_path)

    def newer(message: protocol.Request) -> bytes:
        if message.kind == "end":
            return pack(message)
        body = api.encode(message)[:-1] + b',"newer":1}'
        return LENGTH.pack(len(body)) + body

    with monkeypatch.context() as upgraded:
        upgraded.setattr("otter_agent.tunnels.client.pack", newer)
        with pytest.raises(NetworkError, match="newer"):
            agent.converge(one)
    agent.converge(one)
    assert before not in carriers(tmp_path)
    assert "other" in agent.lost_tunnels()
    agent.converge(other)
    assert set(agent.tunnels(one)) == set(agent.tunnels(other)) == {"radio"}


def test_who_asks_for_the_lost_never_waits(agent: Network) -> None:
    """The agent's event loop does, while others may speak to a process that hangs."""
    agent.converge(mesh("one", 1))
    found: list[list[str]] = []
    assert agent._tunnels is not None
    with agent._tunnels._guard:
        asking = threading.Thread(target=lambda: found.append(agent.lost_tunnels()), daemon=True)
        asking.start()
        asking.join(WITHIN_MS / 1000)
        assert found == [[]]
