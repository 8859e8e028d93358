from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_ctl.lab import pool

networks = st.builds(
    lambda offset, prefix: IPv4Network((int(pool.POOL.network_address) + offset, prefix), False),
    st.integers(0, (1 << 17) - 1),
    st.integers(16, 32),
)


def test_the_first_two_are_taken_where_nothing_is() -> None:
    found = pool.choose([IPv4Network("0.0.0.0/0"), IPv4Network("10.0.0.0/8")])
    assert found == (IPv4Network("198.18.0.0/23"), IPv4Network("198.18.2.0/23"))


def test_none_is_found_where_all_is_taken() -> None:
    assert pool.choose([pool.POOL]) is None


@pytest.mark.slow
@given(st.lists(networks, max_size=20))
def test_what_is_chosen_overlaps_nothing(taken: list[IPv4Network]) -> None:
    found = pool.choose(taken)
    if found is not None:
        assert not found[0].overlaps(found[1])
        assert not [n for n in found for t in taken if n.overlaps(t)]


def test_addresses_of_machines_and_the_controller_differ() -> None:
    network = IPv4Network("198.18.0.0/23")
    last = pool.address_of(network, pool.MOST)
    assert last in network
    assert last < pool.controllers(network) < network.broadcast_address
