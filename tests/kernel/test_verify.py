"""What `verify` measures of the kernel's own netem, set by hand: an independent witness."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import netns
from helpers.probing import certificate, shape

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.network import Network

AB, BA = ("l0", "h0", "h1"), ("l0", "h1", "h0")


@pytest.fixture
def network() -> Iterator[Network]:
    with netns.network() as made:
        yield made


@pytest.fixture
def mesh(network) -> api.MeshSpec:
    spec = netns.chain("probed", 2)
    network.converge(spec)
    return spec


RIGHT = {
    "delay": (("delay", "20ms"), LinkSpec(delay_s=0.02)),
    "uniform": (
        ("delay", "30ms", "5ms", "rate", "10gbit"),  # with a rate netem keeps the order
        LinkSpec(delay_s=0.03, jitter_s=0.005, jitter_distribution="uniform"),
    ),
    "loss": (("loss", "10%"), LinkSpec(loss_ratio=0.1)),
    "gilbert": (
        ("loss", "gemodel", "5%", "30%", "100%", "0%"),
        LinkSpec(loss_gilbert=(0.05, 0.3, 1.0, 0.0)),
    ),
    "markov": (
        ("loss", "state", "5%", "40%", "10%", "50%", "1%"),
        LinkSpec(loss_markov=(0.05, 0.4, 0.1, 0.5, 0.01)),
    ),
    "duplicate": (("duplicate", "5%"), LinkSpec(duplicate_ratio=0.05)),
    "corrupt": (("corrupt", "10%"), LinkSpec(corrupt_ratio=0.1)),
    "reorder": (
        ("delay", "50ms", "reorder", "20%"),
        LinkSpec(delay_s=0.05, reorder_ratio=0.2),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.timed] if asked.delay_s else [])
        for name, (_, asked) in RIGHT.items()
    ],
)
def test_what_netem_does_is_what_is_measured(network, mesh, name):
    words, asked = RIGHT[name]
    shape(network, mesh, AB, "netem", *words)
    found = certificate(network, mesh, {AB: asked}, "normal")
    assert [row for row in found.values() if not row.ok] == []
    loss = found[(*AB, "loss")]
    assert loss.measured == pytest.approx(loss.asked, abs=0.05)


def test_what_netem_does_not_do_is_found_out(network, mesh):
    shape(network, mesh, AB, "netem", "delay", "25ms", "loss", "8%")
    found = certificate(network, mesh, {AB: LinkSpec(delay_s=0.02), BA: LinkSpec(loss_ratio=0.08)})
    wrong = {key for key, row in found.items() if not row.ok}
    assert wrong == {(*AB, "delay"), (*AB, "loss"), (*BA, "loss")}


@pytest.mark.timed
@pytest.mark.parametrize("megabits", [1, 20])
def test_rates_of_netem(network, mesh, megabits):
    # It counts Ethernet headers; an overhead of -14 takes them off again.
    # Its queue is long enough for what is late, and comes at once then.
    words = ("limit", "200", "rate", f"{megabits}mbit", "-14")
    shape(network, mesh, AB, "netem", *words)
    found = certificate(network, mesh, {AB: LinkSpec(rate_bps=megabits * 1e6)})
    assert found[(*AB, "rate")].ok, found[(*AB, "rate")]
    assert found[(*AB, "loss")].ok


@pytest.mark.timed
def test_time_on_the_wire_is_no_delay(network, mesh):
    """At 1 Mbit/s 48 bytes take 0.4 ms, 400 bytes 3.2 ms."""
    words = ("delay", "10ms", "rate", "1mbit", "-14")
    shape(network, mesh, AB, "netem", *words)
    found = certificate(network, mesh, {AB: LinkSpec(rate_bps=1e6, delay_s=0.01)})
    assert found[(*AB, "delay")].ok, found[(*AB, "delay")]
    assert found[(*AB, "delay")].measured == pytest.approx(0.01, abs=0.001)
