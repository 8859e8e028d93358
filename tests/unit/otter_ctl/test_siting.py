"""Which of a machine's addresses links go by: where SSH went, unless that can't be."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import msgspec
import pytest

from otter_agent import api
from otter_ctl.errors import PlanError
from otter_ctl.planning.unheard import NOWHERE
from otter_ctl.siting import At, _address, differ, near
from otter_ctl.spread import Fleet
from otter_ctl.topology.model import Machine

WLAN = api.NetworkFact(device="wlan0", address="192.168.1.7", prefix=24, mtu=1500)
DOCKER = api.NetworkFact(device="docker0", address="172.17.0.1", prefix=16, mtu=1500)


def info(*networks: api.NetworkFact) -> api.Info:
    plain = api.Info(
        agent="a1", version="0.1.0", api_version=api.API_VERSION, pid=7, root="/", machine="pi",
        cpus=4, memory_bytes=1, arch="aarch64", kernel="6", cgroup="v2", runtimes=(),
    )  # fmt: skip
    return msgspec.structs.replace(plain, networks=networks)


@pytest.mark.parametrize("told", ["192.168.1.7", "172.17.0.1", "10.0.0.9"])
def test_where_ssh_went_is_taken_and_what_is_none_of_its_own_is_refused_later(told: str) -> None:
    assert near(told, "pi", info(WLAN, DOCKER)) == At(told)


@pytest.mark.parametrize("told", ["fe80::1%wlan0", "2001:db8::7", "127.0.0.1", "::1", "localhost"])
def test_instead_of_what_no_link_can_go_by_it_is_the_first(told: str) -> None:
    """`raspberrypi.local` is an IPv6 address in many homes; WSL2 is reached by localhost."""
    found = near(told, "pi", info(WLAN, DOCKER))
    assert found.address == "192.168.1.7"
    assert found.guessed == (
        f"machine pi: SSH goes to {told}, links to other machines go by 192.168.1.7 (wlan0);"
        " its `data` can say otherwise"
    )


def test_a_machine_that_does_not_say_where_ssh_went() -> None:
    assert near("", "pi", info(WLAN)).guessed.startswith("machine pi: SSH doesn't say where it")
    assert near("fe80::1", "pi", info()) == At("fe80::1")  # which is refused, with what it has


def test_an_engines_own_network_is_no_way_to_another_machine() -> None:
    """By IPv6 alone it may be the only one of IPv4, and is the same on each."""
    assert near("fe80::1", "pi", info(DOCKER, WLAN)).address == "192.168.1.7"
    assert near("fe80::1", "pi", info(DOCKER)) == At("fe80::1")


async def test_a_machine_that_its_engine_reaches_is_joined_by_its_way_outside() -> None:
    """Which may be a VPN's, from one day to the next."""
    box = Machine(name="box", docker="otter-agent")
    vpn = msgspec.structs.replace(WLAN, device="wg0")
    found = await _address(cast(Fleet, None), box, info(DOCKER, vpn))
    assert found.address == "192.168.1.7"
    assert found.guessed == (
        "machine box: its engine doesn't say which of its addresses it is, links to other machines"
        " go by 192.168.1.7 (wg0); its `data` can say otherwise"
    )
    assert await _address(cast(Fleet, None), box, info(DOCKER)) == At(NOWHERE)
    named = replace(box, data="10.0.0.9")
    assert await _address(cast(Fleet, None), named, info(WLAN)) == At("10.0.0.9")


def test_an_address_that_nobody_named_is_one_machines_alone() -> None:
    differ({"a": At("10.0.0.1"), "b": At("10.0.0.1"), "c": At("10.0.0.3", "c: guessed")})
    with pytest.raises(PlanError, match=r"machine b: .*10\.0\.0\.1, is another machine's, too"):
        differ({"a": At("10.0.0.1"), "b": At("10.0.0.1", "b: guessed")})
