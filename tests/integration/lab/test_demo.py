"""What the README shows of three machines, in containers: the file as it is shipped, whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helpers import labs
from helpers.dockerd import unavailable
from helpers.lab_site import NAMES, lab_of, site_of
from helpers.otter import wait_for

from otter_agent.images.bases import find_base

pytestmark = [
    pytest.mark.timed,
    pytest.mark.netns, pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600),
]  # fmt: skip
TOPOLOGY = Path(__file__).parents[3] / "topologies/three-machines.toml"


def test_three_machines_exchange_arrays_over_shaped_links_that_are_as_asked(require, root_tar):
    """Engines of their own, images made on one of them, links from machine to machine."""
    for why in (labs.unavailable(), unavailable()):
        require("docker", not why, why)
    with lab_of(3, docker=True) as lab, site_of(lab) as otterctl:
        for name in NAMES:  # a lab's engines reach no registry
            argv = ["nsenter", "-t", str(lab.pid_of(name)), "-m", "-n", "-p", "-C", "docker"]
            with root_tar.open("rb") as tar:
                argv += ["import", "-", find_base("python").root]
                subprocess.run(argv, stdin=tar, check=True, stdout=subprocess.DEVNULL)
        runtime = "defaults.module.runtime=docker"
        otterctl("apply", TOPOLOGY, "--set", runtime, limit_s=400)

        def has_ended() -> bool:
            return otterctl.states()["client"] == "done"

        wait_for(has_ended, "the client has asked both servers")
        said = otterctl("logs", "client")
        assert "all exchanges with east, west were right" in said
        status = otterctl.json("status")
        assert {host["name"]: host["machine"] for host in status["hosts"]} == {
            "west": "lab1", "hub": "lab2", "east": "lab3",
        }  # fmt: skip
        assert {module["runtime"] for module in status["modules"]} == {"docker"}
        certificate = otterctl.json("verify", "--quick", "--no-cpu", code=None)
        assert {row["link"] for row in certificate} == {"west-hub", "hub-east"}
        assert all(row["ok"] for row in certificate), certificate
        real = {row["property"] for row in certificate if row["link"] == "hub-east"}
        assert real > {"delay", "rate"}, "nothing is asked of it: the network is measured"
        otterctl("destroy", "--yes", "--no-fetch")
        assert [otterctl.remains(name) for name in NAMES] == [[], [], []]
