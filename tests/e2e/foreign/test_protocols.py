"""The topologies of topologies/foreign: gRPC, HTTP, MQTT, raw TCP and UDP."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.otter import wait_for

FOREIGN = Path(__file__).parents[3] / "topologies" / "foreign"
pytestmark = [pytest.mark.docker, pytest.mark.netns, pytest.mark.timeout(300)]


def in_force(otter, host: str) -> dict[str, object]:
    (found,) = [h for h in otter.json("status")["hosts"] if h["name"] == host]
    return found["in_force"]


def results(otter) -> Path:
    return Path(otter.json("fetch")["folder"])


def test_raw_tcp_and_udp(docker_otter, gcc_image):
    """A static C program, no shell in its image, two links away."""
    otter = docker_otter
    otter("apply", FOREIGN / "raw.toml")
    for client in ("tcp-client", "udp-client"):
        otter.wait_state("raw", client, "done")
    assert "20 echoes from tcp-echo port 9000" in otter("logs", "tcp-client").stdout
    address = otter.modules("raw")["udp-echo"]["address"]
    assert f"20 echoes from {address} port 9000" in otter("logs", "udp-client").stdout
    assert "echo over udp at port 9000" in otter("logs", "udp-echo").stdout
    assert (in_force(otter, "edge")["cpu"], in_force(otter, "edge")["memory_bytes"]) == (
        0.5,
        64 << 20,
    )
    asked = otter("exec", "tcp-echo", "--", "echo", "ask-udp", "udp-echo", "9000", "2")
    assert "2 echoes" in asked.stdout
    outputs = results(otter) / "outputs"
    for client in ("tcp-client", "udp-client"):
        times = (outputs / client / "rtt.csv").read_text().split()
        assert len([float(time) for time in times]) == 20


def test_http(docker_otter, hub_busybox):
    """A web server without a shell; its client is ready once it has the page."""
    otter = docker_otter
    otter("apply", FOREIGN / "http.toml")
    assert "Served from a host that is an emulation" in otter("logs", "browser").stdout
    assert "response:200" in otter("logs", "web").stdout
    page = results(otter) / "outputs" / "browser" / "page.html"
    assert page.read_bytes() == (FOREIGN / "http" / "index.html").read_bytes()


def test_grpc(docker_otter, python_root):
    """Ready once a call was answered; the channel comes back when the server does."""
    otter = docker_otter
    otter("apply", FOREIGN / "grpc.toml")
    assert "twice 1 is 2" in otter("logs", "client").stdout
    assert "asks for 1 twice" in otter("logs", "server").stdout
    answers = results(otter) / "outputs" / "client" / "answers.csv"
    assert answers.read_text().startswith("1,2\n")
    client = otter.modules("grpc")["client"]["pid"]
    otter("restart", "server")  # its log begins anew with it, or goes on: count what is new
    before = otter("logs", "server").stdout.count("twice")
    wait_for(lambda: otter("logs", "server").stdout.count("twice") > before, "no call came")
    assert otter.modules("grpc")["client"]["pid"] == client


def test_mqtt(docker_otter, mosquitto_image):
    """The subscriber ends while there is no broker, and comes back."""
    otter = docker_otter
    otter("apply", FOREIGN / "mqtt.toml")
    assert "mosquitto version 2" in otter("logs", "broker").stdout
    heard = otter.popen("logs", "-f", "subscriber", stdout=-1)
    try:
        for line in heard.stdout:  # the first may be an earlier life's: there was no broker yet
            if "sensors/temperature reading" in line:
                break
            assert "Error: " in line
        else:
            pytest.fail("the log has ended")
    finally:
        heard.kill()
        heard.communicate()
