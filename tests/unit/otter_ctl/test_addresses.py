"""Addresses: no two alike, in their host's block, kept over re-plans, lowest gaps first."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.routing.blocks import dotted, parse_address, parse_block
from otter_agent.api import HostSpec, MeshSpec, ModuleSpec
from otter_ctl.errors import PlanError
from otter_ctl.planning.addresses import Addresses, allocate

Placed = dict[str, list[str]]


def running(placed: Placed, addresses: Addresses) -> MeshSpec:
    """The MeshSpec of a mesh that has these addresses."""
    hosts = [
        HostSpec(name=name, address=dotted(block.host), block=str(block))
        for name, block in addresses.blocks.items()
    ]
    modules = [
        ModuleSpec(name=m, host=host, address=addresses.modules[m], runtime="fake")
        for host, names in placed.items()
        for m in names
    ]
    return MeshSpec(name="m", run="r", hosts=tuple(hosts), modules=tuple(modules))


def test_the_first_addresses():
    found = allocate({"a": ["m1", "m2"], "b": []}, None)
    assert found.names() == {
        "a": "100.64.0.1", "b": "100.64.1.1", "m1": "100.64.0.2", "m2": "100.64.0.3",
    }  # fmt: skip
    assert [str(block) for block in found.blocks.values()] == ["100.64.0.0/24", "100.64.1.0/24"]


@pytest.mark.parametrize(("modules", "length"), [(0, 24), (253, 24), (254, 23), (600, 22)])
def test_a_block_holds_its_modules(modules, length):
    found = allocate({"small": [], "big": [f"m{i}" for i in range(modules)]}, None)
    block = ipaddress.ip_network(str(found.blocks["big"]))
    assert block.prefixlen == length
    assert all(ipaddress.ip_address(a) in block for a in found.modules.values())


def test_new_hosts_fill_gaps_and_old_ones_stay():
    placed: Placed = {"a": ["m1"], "b": ["m2"], "c": ["m3"]}
    mesh = running(placed, allocate(placed, None))
    found = allocate({"new": [], "c": ["m3"], "a": ["m0", "m1"]}, mesh)
    assert found.names() == {
        "new": "100.64.1.1", "c": "100.64.2.1", "a": "100.64.0.1",
        "m3": "100.64.2.2", "m0": "100.64.0.3", "m1": "100.64.0.2",
    }  # fmt: skip


def test_a_module_that_moves_gets_an_address_there():
    placed: Placed = {"a": ["m1"], "b": []}
    mesh = running(placed, allocate(placed, None))
    assert allocate({"a": [], "b": ["m1"]}, mesh).modules == {"m1": "100.64.1.2"}


def test_a_host_that_outgrows_its_block_gets_a_larger_one():
    placed: Placed = {"a": ["m0"], "b": []}
    mesh = running(placed, allocate(placed, None))
    found = allocate({"a": [f"m{i}" for i in range(300)], "b": []}, mesh)
    assert str(found.blocks["a"]) == "100.64.2.0/23"
    assert str(found.blocks["b"]) == "100.64.1.0/24"


@pytest.mark.slow
def test_a_full_pool_is_an_error():
    with pytest.raises(PlanError, match=r"the pool 100\.64\.0\.0/10 has no block left"):
        allocate({f"h{i}": [] for i in range(16385)}, None)


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
def test_text_of_an_address(address):
    assert dotted(address) == str(ipaddress.ip_address(address))
    assert parse_address(dotted(address)) == address


NAMES = st.integers(0, 30).map(lambda i: f"m{i}")
PLACED = st.dictionaries(
    st.sampled_from("abcdefgh"), st.integers(0, 5), min_size=1, max_size=8
).map(lambda sizes: {h: [f"{h}{i}" for i in range(n)] for h, n in sizes.items()})


@pytest.mark.slow
@given(st.lists(PLACED, min_size=1, max_size=4))
def test_whatever_follows_on_whatever(history: list[Placed]):
    mesh = None
    for placed in history:
        found = allocate(placed, mesh)
        networks = [ipaddress.ip_network(str(b)) for b in found.blocks.values()]
        assert list(found.blocks) == list(placed)
        assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])
        assert all(n.subnet_of(ipaddress.ip_network("100.64.0.0/10")) for n in networks)
        assert len(set(found.names().values())) == len(found.names())
        for host, names in placed.items():
            block = parse_block(str(found.blocks[host]))
            assert all(parse_address(found.modules[name]) in block for name in names)
        if mesh is not None:
            assert all(str(found.blocks[h.name]) == h.block for h in mesh.hosts if h.name in placed)
            kept = {m.name: m.address for m in mesh.modules if m.name in found.modules}
            assert all(found.modules[name] == address for name, address in kept.items())
        mesh = running(placed, found)
        assert allocate(placed, mesh) == found
