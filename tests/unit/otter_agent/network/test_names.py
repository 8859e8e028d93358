"""Names of namespaces and devices: valid for the kernel, and never the same for two things."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent.errors import NetworkError
from otter_agent.network import names

NAME = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,30}", fullmatch=True)


def test_a_namespace_names_agent_mesh_and_host() -> None:
    assert names.namespace("id1", "mesh-a", "h_1") == "otter-id1+mesh-a+h_1"


@pytest.mark.slow
@given(NAME, NAME, NAME)
def test_no_mesh_prefix_begins_anothers_namespace(a: str, b: str, host: str) -> None:
    ours = names.namespace("id", a, host).startswith(names.mesh_prefix("id", b))
    assert ours == (a == b)


@pytest.mark.slow
@given(NAME, NAME, NAME)
def test_no_agent_prefix_begins_anothers_namespace(a: str, b: str, host: str) -> None:
    assert names.namespace(a, "m", host).startswith(names.agent_prefix(b)) == (a == b)


@pytest.mark.parametrize("bad", ["", "a+b", "a/b", "a\0b", "x" * 250])
def test_names_that_make_no_file_name_are_refused(bad: str) -> None:
    with pytest.raises(NetworkError):
        names.namespace("id", "mesh", bad)


@pytest.mark.slow
@given(st.text(min_size=1, max_size=400))
def test_device_names_are_valid(name: str) -> None:
    for device in (names.link_device(name), names.plug_device(name)):
        assert 0 < len(device.encode()) <= names.DEVICE_MAX
        assert not set(device) & set("/: \t\n")
        assert device not in {".", "..", "lo", "all", "default"}


@pytest.mark.slow
@given(st.sets(st.text(min_size=1, max_size=40), max_size=50))
def test_device_names_differ_where_names_do(given_names: set[str]) -> None:
    links = {names.link_device(name) for name in given_names}
    plugs = {names.plug_device(name) for name in given_names}
    assert len(links) == len(plugs) == len(given_names)
    assert not links & plugs


def test_short_names_are_kept() -> None:
    assert names.link_device("phone-edge") == "phone-edge"
    assert names.plug_device("asr") == "m.asr"


@pytest.mark.slow
@given(NAME, NAME)
def test_hardware_addresses_are_local_and_unicast(a: str, b: str) -> None:
    mac = names.hardware_address(a, b)
    assert len(mac) == 6
    assert mac[0] & 3 == 2
    assert mac != names.hardware_address(a + b)
