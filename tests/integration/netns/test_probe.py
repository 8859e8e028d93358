"""`Network.usable`: says why not, and converge fails with the same reason, in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers import netns

from otter_agent.network import Network

pytestmark = [pytest.mark.timed, pytest.mark.netns]

_ASK = """
from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.network import Network
print(*Network.usable())
host = api.HostSpec(name="h", address="100.64.0.1", block="100.64.0.0/24")
try:
    Network("none").converge(api.MeshSpec(name="mesh", run="r", hosts=(host,)))
except NetworkError as error:
    print(error)
"""


@pytest.mark.parametrize("right", ["sys_admin", "net_admin"])
def test_without_a_right(right: str) -> None:
    """Root without a capability, as in many a container."""
    argv = ["setpriv", f"--bounding-set=-{right}", sys.executable, "-c", _ASK]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    verdict, error = done.stdout.splitlines()
    assert verdict.startswith("False this machine: ")
    assert error.startswith("otter-none+mesh+h: network could not ")
    for line in (verdict, error):
        assert "(EPERM)" in line
        assert "must be root, with the right to make network namespaces" in line
    assert netns.names("none") == set()


def test_here() -> None:
    usable, what = Network.usable()
    assert usable, what
