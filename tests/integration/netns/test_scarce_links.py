"""`Network.converge` with links in user space: their devices, as `ip` sees them, and the routes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers import netns

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.book import LinkBook
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks
from otter_agent.network import Network
from otter_agent.state import State

pytestmark = [pytest.mark.timed, pytest.mark.netns]

LATE = LinkSpec(delay_s=0.01)


class Tuns(FakeLinks):
    """Needs the devices of the driver in user space; moves no packet."""

    device_kind = "tun"


class Mesh:
    """A chain of hosts, some of its links shaped."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.driver = Tuns()
        self.state = State(folder / "state.sqlite")

    def converge(self, count: int, *shaped: str) -> None:
        self.network.converge(chain(count, *shaped), self.book(count, *shaped))

    def book(self, count: int, *shaped: str) -> LinkBook:
        choice = Choice(driver=self.driver)
        return LinkBook(
            choice, self.network._agent_id, chain(count, *shaped), self.state, lambda *_: None
        )

    def devices(self, host: str) -> dict[str, str]:
        """Name -> kind."""
        found = netns.ip("link", netns=f"otter-{self.network._agent_id}+mesh+{host}")
        kinds = {d["ifname"]: d.get("linkinfo", {}).get("info_kind", "") for d in found}
        return {name: kind for name, kind in kinds.items() if kind in ("veth", "tun")}

    def routes(self, host: str) -> set[tuple[str, str]]:
        found = netns.ip("-4", "route", netns=f"otter-{self.network._agent_id}+mesh+{host}")
        return {(route["dst"], route["dev"]) for route in found}


def chain(count: int, *shaped: str) -> api.MeshSpec:
    spec = netns.chain("mesh", count)
    links = tuple(
        msgspec.structs.replace(
            link, forward=LATE if link.name in shaped else LinkSpec(), reverse=LinkSpec()
        )
        for link in spec.links
    )
    return msgspec.structs.replace(spec, links=links)


@pytest.fixture
def mesh(network: Network, tmp_path: Path) -> Iterator[Mesh]:
    made = Mesh(network, tmp_path)
    yield made
    made.state.close()


def test_shaped_links_get_devices_of_their_driver(mesh: Mesh) -> None:
    mesh.converge(3, "l0")
    assert mesh.devices("h0") == {"l0": "tun"}
    assert mesh.devices("h1") == {"l0": "tun", "l1": "veth"}
    assert mesh.routes("h1") == {("100.64.0.0/24", "l0"), ("100.64.2.0/24", "l1")}
    assert {str(d).partition("/")[2] for d in mesh.driver.done} == {"l0:h0>h1", "l0:h1>h0"}
    before, seen = mesh.network.changes, netns.snapshot(mesh.network)
    mesh.converge(3, "l0")
    assert mesh.network.changes == before
    assert netns.snapshot(mesh.network) == seen


@pytest.mark.parametrize(("one", "other"), [(("l0",), ("l1",)), ((), ("l0", "l1")), (("l0",), ())])
def test_links_become_of_the_other_kind_and_back(
    mesh: Mesh, one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    mesh.converge(3, *one)
    routes = mesh.routes("h1")
    mesh.converge(3, *other)
    assert mesh.devices("h1") == {n: "tun" if n in other else "veth" for n in ("l0", "l1")}
    assert mesh.routes("h1") == routes
    assert {d.link for d in mesh.driver.done} == {*other}


def test_a_driver_that_fails_keeps_routes_away(mesh: Mesh) -> None:
    mesh.driver.fails = {"l0": "no"}
    with pytest.raises(NetworkError, match="no"):
        mesh.converge(2, "l0")
    assert mesh.routes("h0") == set()
    mesh.driver.fails = {}
    mesh.converge(2, "l0")
    assert mesh.routes("h0") == {("100.64.1.0/24", "l0")}


def test_cut_off_while_a_link_changes_its_kind(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh.converge(3, "l0")
    routes = mesh.routes("h1")
    mesh.driver.fails = {"l1": "killed here"}
    with pytest.raises(NetworkError, match="killed here"):
        mesh.converge(3, "l0", "l1")
    there = mesh.devices("h1")
    assert (there["l1"], there["x.l1"]) == ("tun", "veth")
    assert mesh.routes("h1") == {(to, "x.l1" if dev == "l1" else dev) for to, dev in routes}
    mesh.driver.fails = {}
    mesh.converge(3, "l0", "l1")
    assert mesh.devices("h1") == {"l0": "tun", "l1": "tun"}
    assert mesh.routes("h1") == routes


def test_removed_links_and_hosts_leave_nothing(mesh: Mesh) -> None:
    mesh.converge(3, "l0", "l1")
    mesh.converge(2, "l0")
    assert mesh.devices("h1") == {"l0": "tun"}
    assert {d.link for d in mesh.driver.done} == {"l0"}
    mesh.network.remove("mesh")
    assert netns.names(mesh.network) == set()


def test_one_end_missing_is_made_again(mesh: Mesh) -> None:
    mesh.converge(2, "l0")
    name = f"otter-{mesh.network._agent_id}+mesh+h0"
    _ip(name, "link", "delete", "l0")
    mesh.converge(2, "l0")
    assert (mesh.devices("h0"), mesh.devices("h1")) == ({"l0": "tun"}, {"l0": "tun"})
    assert mesh.routes("h0") == {("100.64.1.0/24", "l0")}


def _ip(namespace: str, *words: str) -> Any:
    return netns.ip(*words, netns=namespace)
