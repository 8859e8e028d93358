"""`Driving`: what comes of what a driver is told, whatever becomes of the driver."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import pytest

from net.links.changes import Change
from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction, Outcome
from otter_agent.links.choose import Choice
from otter_agent.links.driving import Driving
from otter_agent.links.fake import FakeLinks
from otter_agent.links.layers import Layers
from otter_agent.links.ways import Way, ways

SPEC = api.MeshSpec(
    name="m",
    run="r",
    hosts=tuple(api.HostSpec(name=n, address="100.64.0.1", block="100.64.0.0/24") for n in "ab"),
    links=(api.Link(name="radio", a="a", b="b", forward=LinkSpec(), reverse=LinkSpec()),),
)
AB, BA = Way("radio", "a", "b"), Way("radio", "b", "a")


class Faulty(FakeLinks):
    """A driver with a fault of its own: some numbers it can't pack."""

    def apply(self, asked: Mapping[Direction, LinkSpec]) -> dict[Direction, Outcome]:
        for spec in asked.values():
            struct.pack("=I", int(spec.rate_bps or 0))
        return FakeLinks.apply(self, asked)


def test_a_drivers_fault_is_an_error_of_what_it_was_told_and_no_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    layers = Layers()
    layers.take(ways(SPEC), {})
    driver = Faulty()
    driving = Driving(Choice(driver=driver), "id", layers, "m")
    driving.take(SPEC, None)
    driving.kinds()
    driving.devices_are_there()
    layers.change("shape", AB, Change({"rate_bps": 1e12}))
    driving.drive([AB])
    error = driving.outcome(AB).error
    assert "internal error: error: 'I' format requires" in str(error)
    assert "struct.error" in capsys.readouterr().err  # whole, in the agent's log
    layers.change("shape", BA, Change({"rate_bps": 1e6}))
    driving.drive([BA])
    assert driving.outcome(BA) == Outcome(applied=LinkSpec(rate_bps=1e6))
    with pytest.raises(NetworkError, match="internal error"):
        driving.bring_into_force()
    layers.change("shape", AB, Change())
    driving.bring_into_force()
    assert {spec.rate_bps for spec in driver.done.values()} == {None, 1e6}
