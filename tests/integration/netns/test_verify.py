"""Probes of real links: exactly the one that is asked for, in exactly the one direction.

Qdiscs that every kernel has stand for drivers; what these are to do is measured in tests/kernel.
"""

from __future__ import annotations

import contextlib
import itertools
import select

import numpy as np
import pytest
from helpers import netns
from helpers.probing import certificate, job_of, shape

from net.links.spec import LinkSpec
from net.links.verify.schedule import Train
from otter_agent import api
from otter_agent.verify import paths
from otter_agent.verify.engine import ClockStepError, measure

pytestmark = pytest.mark.timed

AB, BA = ("l0", "h0", "h1"), ("l0", "h1", "h0")
NOTHING = LinkSpec()


@pytest.fixture
def mesh(network) -> api.MeshSpec:
    spec = netns.chain("probed", 2)
    network.converge(spec)
    return spec


def row(found, direction, name):
    return found[(*direction, name)]


def test_a_link_without_properties_is_as_measured(network, mesh):
    found = certificate(network, mesh, {AB: NOTHING, BA: NOTHING})
    assert all(one.ok and one.asked is None for one in found.values())
    assert row(found, AB, "loss").measured == 0
    assert row(found, AB, "loss").n == 1000
    assert abs(row(found, BA, "delay").measured) < 0.01


def test_a_rate_is_measured_in_the_direction_that_has_it(network, mesh):
    # It counts Ethernet headers: 1.5 Mbit/s of them are a little less of IP packets.
    shape(network, mesh, AB, "tbf", "rate", "1515kbit", "burst", "3000", "limit", "30000")
    shape(network, mesh, BA, "tbf", "rate", "707kbit", "burst", "3000", "limit", "60000")
    asked = LinkSpec(rate_bps=1.5e6)
    found = certificate(network, mesh, {AB: asked, BA: asked})
    assert row(found, AB, "rate").measured == pytest.approx(1.5e6, rel=0.05)
    assert row(found, BA, "rate").measured == pytest.approx(0.7e6, rel=0.05)
    assert not row(found, BA, "rate").ok
    assert row(found, BA, "rate").note == "measured twice"


def test_a_link_that_is_down_loses_everything(network, mesh):
    netns.ip("link", "set", "l0", "down", netns=next(iter(netns.names(network))))
    found = certificate(network, mesh, {AB: NOTHING, BA: LinkSpec(up=False)})
    assert row(found, AB, "loss").measured == 1.0
    assert row(found, AB, "delay").measured is None
    assert row(found, BA, "loss").ok


def test_a_delay_that_is_not_there_is_found_out(network, mesh):
    found = certificate(network, mesh, {AB: LinkSpec(delay_s=0.02)})
    assert not row(found, AB, "delay").ok
    assert row(found, AB, "delay").error == pytest.approx(-0.02, abs=0.01)


def test_each_of_parallel_links_is_probed_by_itself(network):
    """Both lead to the same address, and routes name one of them only."""
    spec = netns.chain("parallel", 2)
    spec = api.MeshSpec(
        name=spec.name, run="test", hosts=spec.hosts,
        links=(*spec.links, api.Link(name="spare", a="h0", b="h1")),
    )  # fmt: skip
    network.converge(spec)
    shape(network, spec, AB, "pfifo", "limit", "0")  # drops all
    found = certificate(network, spec, {AB: NOTHING, ("spare", "h0", "h1"): NOTHING})
    assert found["l0", "h0", "h1", "loss"].measured == 1.0
    assert found["spare", "h0", "h1", "loss"].measured == 0.0


def test_a_probe_hears_nobody_else(network, mesh):
    one, other = job_of(network, mesh, AB, NOTHING), job_of(network, mesh, BA, NOTHING)
    with paths.opened(one) as path, paths.opened(other) as strange:
        strange.tx.connect(path.rx.getsockname())  # its own way leads elsewhere
        with contextlib.suppress(OSError):  # or it is sent, and never arrives
            strange.tx.send(b"x" * 20)
        path.tx.send(b"y" * 20)
        assert select.select([path.rx], (), (), 10)[0]
        data, came = path.receive()
        assert data == b"y" * 20  # and not what the stranger had sent before
        assert came > 0


def test_hosts_that_are_not_there_are_named(network, mesh):
    network.remove(mesh.name)
    with pytest.raises(OSError, match="No such file"):
        certificate(network, mesh, {AB: NOTHING})


def test_what_was_sent_while_the_clock_was_set_is_sent_again(network, mesh):
    train = Train("base", np.arange(20) * 0.001, np.full(20, 40), 1.0)
    readings = iter([0.0, 3600.0, 3600.0, 3600.0])  # before and after, twice
    with paths.opened(job_of(network, mesh, AB, NOTHING)) as path:
        [probes] = measure([(path, train)], lambda: next(readings))
        assert next(readings, None) is None
        assert probes.lost == 0
        always = itertools.count(0.0, 1.0)
        with pytest.raises(ClockStepError):
            measure([(path, train)], lambda: next(always))
