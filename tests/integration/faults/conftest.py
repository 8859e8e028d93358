"""A lab of three machines for all tests of faults here, each of which mends what it breaks."""

from __future__ import annotations

import pytest
from helpers import labs
from helpers.lab_site import NAMES, lab_of, site_of
from helpers.otter import wait_for


@pytest.fixture(scope="package")
def trio(require):
    """Three machines with agents, without engines."""
    why = labs.unavailable()
    require("netns", not why, why)
    with lab_of(3) as lab:
        yield lab


@pytest.fixture
def site(trio):
    """Their user; afterwards all machines are whole, and nothing of a mesh is left on them."""
    with site_of(trio) as one:
        yield one
        trio.on(*NAMES)
        trio.heal(*NAMES)
        for name in NAMES:
            for service in ("ssh", "agent"):
                trio.service(name, service, "start")
        one("destroy", "--all", "--yes", "--no-fetch", code=None)
        for name in NAMES:
            for mesh in one.agent(name, "/v1/meshes") or []:
                one.agent(name, f"/v1/meshes/{mesh['mesh']}?force=1", "DELETE")
        wait_for(lambda: not any(one.meshes().values()), "agents let go of their meshes")
        assert {name: one.remains(name) for name in NAMES} == {name: [] for name in NAMES}
