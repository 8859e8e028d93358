"""The traffic module in process runtimes: what is sent arrives, and both tell the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.timed

ROOT = Path(__file__).parents[2]
SINK = """
otter = 1
name = "load"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
[modules.sink]
build = "{root}/modules/traffic"
host = "b"
outputs = ["traffic.json"]
"""
MESH = (
    SINK
    + """
[modules.sender]
build = "{root}/modules/traffic"
host = "a"
outputs = ["traffic.json"]
restart = "no"
files = {files}
env = {{ OTTER_TRAFFIC_TO = "sink", OTTER_TRAFFIC_FOR = "1s", {env} }}
"""
)


@pytest.fixture
def reports(shared_otter):
    """`reports(env)`: what sender and sink tell in the end."""

    def run(env, files="{}"):
        text = MESH.format(root=ROOT, env=env, files=files)
        # The sink first: datagrams to who isn't there yet are lost, as they should be.
        shared_otter("apply", shared_otter.topology(SINK.format(root=ROOT), "load.toml"))
        shared_otter("apply", shared_otter.topology(text, "load.toml"))
        shared_otter.wait_state("load", "sender", "done")
        shared_otter("stop", "sink", "-m", "load")  # it tells once more when it ends
        folder = Path(shared_otter.json("destroy", "-m", "load", "--yes")["folder"])
        found = (folder / "outputs" / name / "traffic.json" for name in ("sender", "sink"))
        return [json.loads(path.read_text()) for path in found]

    return run


def test_a_constant_rate_arrives(reports):
    sender, sink = reports('OTTER_TRAFFIC_RATE = "2mbit", OTTER_TRAFFIC_SIZE = "500"')
    sent = sender["to"]["sink"]
    [arrived] = sink["udp"].values()
    due = 500 * (1 - sent["skipped_s"])  # what a busy machine was too late for is skipped, and told
    assert sent["packets"] == pytest.approx(due, abs=25)
    assert arrived["packets"] == sent["packets"]
    assert arrived["bytes"] == sent["bytes"] == 500 * sent["packets"]
    assert (arrived["lost"], arrived["copies"], arrived["late"]) == (0, 0, 0)


def test_tcp_flows_arrive(reports):
    settings = 'OTTER_TRAFFIC_KIND = "tcp", OTTER_TRAFFIC_FLOWS = "3", OTTER_TRAFFIC_RATE = "8mbit"'
    sender, sink = reports(settings)
    sent = sender["to"]["sink"]
    [arrived] = sink["tcp"].values()
    assert sink["connections"] == sent["connects"] == 3
    assert 0 < arrived["bytes"] <= sent["bytes"]
    assert sent["bytes"] < 2e6  # a second of 8 Mbit/s, and what a busy machine made up for


def test_a_capture_is_replayed(reports, tmp_path):
    from net import pcapng

    file = tmp_path / "seen.pcapng"
    head = pcapng.section("x") + pcapng.interface(pcapng.RAW_IP, 65535, "a>b", "")
    sizes = [100, 1500, 700, 52]
    file.write_bytes(
        head + b"".join(pcapng.packet(0, i * 50_000_000, b"", n) for i, n in enumerate(sizes))
    )
    settings = 'OTTER_TRAFFIC_KIND = "replay", OTTER_TRAFFIC_FILE = "seen.pcapng"'
    sender, sink = reports(settings, f'{{ "seen.pcapng" = "{file}" }}')
    [arrived] = sink["udp"].values()
    assert arrived["packets"] == sender["to"]["sink"]["packets"] == len(sizes)
    assert arrived["bytes"] == sum(sizes)


def test_a_setting_that_makes_no_sense_is_the_modules_last_word(shared_otter):
    text = MESH.format(root=ROOT, env='OTTER_TRAFFIC_RATE = "fast"', files="{}")
    shared_otter("apply", shared_otter.topology(text, "load.toml"), code=None)
    tail = shared_otter.wait_state("load", "sender", "failed")["log_tail"]
    assert any("OTTER_TRAFFIC_RATE='fast'" in line for line in tail)
    shared_otter("destroy", "-m", "load", "--yes", "--no-fetch")
