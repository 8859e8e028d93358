"""A trace and an event on the kernel's netem: what `tc` sees change under a mesh that runs."""

from __future__ import annotations

import json
import subprocess

import pytest
from helpers.otter import wait_for

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

MESH = """
name = "timed"
[defaults.module]
runtime = "process"
[hosts.phone]
[hosts.edge]
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "1ms"
trace = { file = "far.csv", loop = false }
reverse = { trace = "none" }
[[events]]
at = "0.5s"
link = "radio:edge>phone"
set = { delay = "200ms" }
[modules.near]
host = "phone"
command = ["sleep", "1000"]
"""


def netem_delay(otter, host: str) -> float | None:
    """Of what comes in to a host over the link, as the kernel has it: seconds."""
    namespace = f"otter-{otter.agent_id}+timed+{host}"
    shown = subprocess.run(
        ["tc", "-netns", namespace, "-json", "qdisc", "show"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    netems = [q["options"] for q in json.loads(shown.stdout) if q["kind"] == "netem"]
    found = [options["delay"]["delay"] for options in netems if "delay" in options]
    return float(found[0]) if found else None


def test_netem_follows_the_trace_the_event_and_the_reset(otter):
    (otter.root / "far.csv").write_text("time,delay_ms\n0,40\n0.2,80\n")
    otter("apply", otter.topology(MESH))
    assert {link["driver"] for link in otter.json("status")["links"]} == {"netem"}
    wait_for(lambda: netem_delay(otter, "edge") == pytest.approx(0.08, abs=1e-6), "no trace")
    wait_for(lambda: netem_delay(otter, "phone") == pytest.approx(0.2, abs=1e-6), "no event")
    otter.kill_agent()
    assert netem_delay(otter, "phone") == pytest.approx(0.2, abs=1e-6)
    otter.serve()
    assert netem_delay(otter, "phone") == pytest.approx(0.2, abs=1e-6)
    otter("timeline", "reset")
    for host in ("phone", "edge"):
        wait_for(
            lambda host=host: netem_delay(otter, host) == pytest.approx(0.001, abs=1e-6),
            f"{host} never was as the topology says",
        )
    late = otter.json("timeline", "show")["lateness"]
    assert late["failed"] == 0
