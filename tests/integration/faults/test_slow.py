"""A machine at the end of a scarce way: 1 Mbit/s, 300 ms and 5 % loss each way."""

from __future__ import annotations

import pytest
from helpers import labs
from helpers.lab_site import RING, lab_of, site_of
from helpers.labs import inside

pytestmark = [pytest.mark.timed, pytest.mark.netns]
PAIR = RING.replace('machine = "lab3"', 'machine = "lab2"')
FILES = 'files = { "receiver.py" = "receiver.py"'
MOST_BYTES = 150_000
"""Of an apply, all that goes over one machine's way, both directions: most of it is SSH's keys. A
megabyte of text is among what is sent."""


@pytest.fixture
def slow(require):
    why = labs.unavailable()
    require("netns", not why, why)
    with lab_of(1) as lab:
        lab.up(2, docker=False, management="rate=1mbit delay=300ms loss=5%")  # the second one
        with site_of(lab, "") as site:
            yield site
            site("destroy", "--all", "--yes", "--no-fetch", code=None)


def carried(site):
    """Bytes that have passed its management interface."""
    counters = [
        "/sys/class/net/eth0/statistics/rx_bytes",
        "/sys/class/net/eth0/statistics/tx_bytes",
    ]
    return sum(map(int, inside(site.lab, "lab2", "cat", *counters).split()))


def test_a_mesh_on_a_slow_machine_is_a_mesh(slow):
    """Everything takes a while, nothing gives up, and little is said."""
    (slow.folder / "words.txt").write_text("all of this is said again and again\n" * 30_000)
    before = carried(slow)
    slow("apply", slow.topology(PAIR.replace(FILES, f'{FILES}, "words.txt" = "words.txt"')))
    assert carried(slow) - before < MOST_BYTES
    status = slow.json("status")
    assert status["state"] == "ready"
    for machine in status["machines"]:  # ways differ by what is lost: the error says how much
        assert abs(machine["clock_offset_s"]) <= machine["clock_error_s"] + 0.001
    epochs = [slow.agent(n, "/v1/meshes/ring/timeline")["epoch"] for n in ("lab1", "lab2")]
    assert max(epochs) - min(epochs) < 1.0
    slow("destroy", "--yes", "--no-fetch")
