"""The arbiter by its sockets, and who keeps it: one that lives as long as somebody shares."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from helpers.arbiters import Arbiters
from helpers.otter import command_line, wait_for

from net import asking
from net.leases import Lease
from otter_agent import api, beside
from otter_agent.layout import Layout
from otter_agent.leasing.arbiter import THINGS
from otter_agent.leasing.client import Leases
from otter_agent.leasing.keeping import Keeping
from otter_agent.leasing.members import member
from otter_agent.leasing.words import MARK, Held, Member

pytestmark = pytest.mark.timed


@pytest.fixture
def arbiters(tmp_path: Path) -> Iterator[Arbiters]:
    made = Arbiters(tmp_path)
    try:
        yield made
    finally:
        made.arbiter.close()
        made.listener.close()


def test_names_that_nobody_shares_any_more_are_forgotten(
    arbiters: Arbiters, tmp_path: Path
) -> None:
    one, other = (
        Member(name=f"mesh/{name}", socket=str(tmp_path / name), weight=0.5) for name in "ab"
    )
    arbiters.tell(one, other)
    for number in range(THINGS):
        assert arbiters.ask(one.socket, f"thing {number}") == b"g"
    assert arbiters.ask(one.socket, "gpu") == b""  # as many as a module may name
    assert arbiters.ask(other.socket, "gpu") == b"g"
    assert {held.what for held in arbiters.tell(other).held} == {"gpu"}
    arbiters.tell(one, other)
    assert arbiters.ask(one.socket, "gpu") == b"g"


def test_an_agent_that_has_just_begun_takes_nobodys_turn(
    arbiters: Arbiters, tmp_path: Path
) -> None:
    """It may make a module before it has looked who else shares."""
    one, other = (
        Member(name=f"mesh/{name}", socket=str(tmp_path / name), weight=0.5) for name in "ab"
    )
    arbiters.tell(one)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as module:
        module.connect(one.socket)
        module.send(b"a gpu")
        arbiters.work()
        assert module.recv(8) == b"g"
        arbiters.tell(other, more=True)
        (held,) = arbiters.tell(one, other).held
        assert held.name == one.name
        assert held.holds_s is not None
        arbiters.tell(other)
        assert module.recv(8) == b""


def connected(path: str) -> socket.socket:
    module = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    module.connect(path)
    module.settimeout(10)
    return module


def readable(module: socket.socket) -> bool:
    return bool(select.select([module], [], [], 0)[0])


@pytest.mark.parametrize("name", [b"\xff", "gpü".encode(), b"", b"\n", b"\x7f", b"x" * 40])
def test_what_can_be_no_name_ends_its_own_connection_only(
    arbiters: Arbiters, tmp_path: Path, name: bytes
) -> None:
    one = Member(name="mesh/a", socket=str(tmp_path / "a"), weight=0.5)
    arbiters.tell(one)
    with connected(one.socket) as module:
        module.send(b"a " + name)
        arbiters.work()
        assert module.recv(8) == (b"g" if name.isalpha() and name.isascii() else b"")
    arbiters.work()
    assert arbiters.ask(one.socket, "gpu") == b"g"


def test_who_gives_one_turn_back_and_has_another_at_once_is_watched_for_that(
    arbiters: Arbiters, tmp_path: Path
) -> None:
    """Others wait for both, and all of it is heard in one go."""
    one = Member(name="mesh/a", socket=str(tmp_path / "a"), weight=0.5)
    arbiters.tell(one)
    holder, former, next_x, next_y = (connected(one.socket) for _ in range(4))
    with holder, former, next_x, next_y:
        former.send(b"a x")
        arbiters.work()
        holder.send(b"a y")
        arbiters.work()
        said, (token, page), _, _ = socket.recv_fds(holder, 8, 2)
        assert said == b"g"
        next_y.send(b"a y")
        arbiters.work()
        os.eventfd_write(token, 1)
        holder.send(b"a x")
        next_x.send(b"a x")
        former.close()
        arbiters.work()
        assert (holder.recv(8), next_y.recv(8)) == (b"g", b"g")
        os.eventfd_write(token, 1)
        wait_for(lambda: arbiters.work() or readable(next_x), "what the holder leaves")
        assert next_x.recv(8) == b"g"
        os.close(token)
        os.close(page)


def test_one_that_outlives_its_folder_takes_nobodys_turns_with_it(
    arbiters: Arbiters, tmp_path: Path
) -> None:
    gone, one = (
        Member(name=f"mesh/{name}", socket=str(tmp_path / name / "s"), weight=0.5) for name in "ab"
    )
    for folder in "ab":
        (tmp_path / folder).mkdir()
    arbiters.tell(gone, one)
    with connected(gone.socket) as module:
        arbiters.work()
        shutil.rmtree(tmp_path / "a")
        assert arbiters.tell(gone, one).failed
        module.send(b"a gpu")
        arbiters.work()
        assert module.recv(8) == b""
    assert arbiters.ask(one.socket, "gpu") == b"g"


def processes(layout: Layout) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        words = command_line(int(path.name))
        if MARK in words and str(layout.turns) in words:
            found.append(int(path.name))
    return found


def test_one_that_goes_with_its_folder_is_in_no_other_ones_way(tmp_path: Path) -> None:
    leases = Leases(tmp_path / "turns.s")
    gone = Member(name="old/gan", socket=str(tmp_path / "gone" / "turns.sock"), weight=0.5)
    new = Member(name="new/gan", socket=str(tmp_path / "turns.sock"), weight=0.5)
    try:
        with pytest.raises(OSError, match="no turns for old/gan: No such file"):
            leases.put(gone)
        leases.put(new)
        assert Path(new.socket).is_socket()
        with pytest.raises(OSError, match="no turns for old/gan"):
            leases.keep({one.name: one for one in (gone, new)})
    finally:
        leases.keep({})
    assert not Path(new.socket).exists()


def had_turn(path: str) -> bool:
    with Lease("gpu", path) as turn:
        return turn.shared


async def test_a_probe_shares_though_no_mesh_does_until_it_is_dropped(tmp_path: Path) -> None:
    layout = Layout.at(tmp_path)
    leases = Leases(layout.turns)
    keeping = Keeping(leases, layout, list, lambda *told: None)
    probe = Member(name="probe", socket=str(tmp_path / "s"), weight=1.0)
    await asyncio.to_thread(leases.put, probe, guest=True)

    assert await asyncio.to_thread(had_turn, probe.socket)
    for link in [link for link in asking._idle if link.path == probe.socket]:
        asking._idle.remove(link)
        link.close()
    for _ in range(2):
        assert await keeping.look() == ()  # it is no module
    assert Path(probe.socket).is_socket()
    await asyncio.to_thread(leases.drop, "probe")
    assert not Path(probe.socket).exists()
    assert not processes(layout)


async def test_without_a_share_it_is_asked_once_and_one_that_was_begun_late_ends(
    tmp_path: Path,
) -> None:
    layout, specs = Layout.at(tmp_path), list[api.MeshSpec]()
    leases = Leases(layout.turns)
    keeping = Keeping(leases, layout, lambda: specs, lambda *told: None)
    module = api.ModuleSpec(
        name="gan", host="edge", address="100.64.0.2", runtime="process", gpu_share=0.5
    )
    # What a killed predecessor has left ends at the first look.
    (layout.module("m", "gan").wiring).mkdir(parents=True)
    await asyncio.to_thread(Leases(layout.turns).put, member(layout, "m", module))
    assert processes(layout)
    assert not leases.idle
    assert await keeping.look() == ()
    assert leases.idle
    assert not processes(layout)
    # A mesh that goes while one of its modules is made.
    await asyncio.to_thread(leases.put, member(layout, "m", module))
    assert processes(layout)
    await keeping.look()
    assert not processes(layout)
    assert beside.connected(layout.turns) is None


def test_a_turn_that_was_taken_away_is_told_once(tmp_path: Path) -> None:
    """Also by an agent that has only just come: of those before, its predecessor has told."""
    layout, told = Layout.at(tmp_path), list[tuple[str, ...]]()
    keeping = Keeping(Leases(layout.turns), layout, list, lambda *event: told.append(event))
    held = Held(name="m/gan", what="gpu", weight=1.0, held_s=20.0, turns=2, revoked=1, waiting=0)
    for revoked, count in ((1, 0), (2, 1), (2, 1)):
        keeping._held = (msgspec.structs.replace(held, revoked=revoked),)
        keeping._look_for_revoked()
        assert len(told) == count
    assert told[0][:3] == ("m", "gpu", "gan")
