"""Budgets changed by hand, from the installed command to what the kernel enforces."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = [pytest.mark.timed, pytest.mark.netns]

MESH = """
name = "scarce"
[defaults.module]
runtime = "process"
[hosts.phone]
cpu = 1.0
memory = "512MiB"
[hosts.edge]
[modules.asr]
host = "phone"
cpu = 0.8
command = ["python3", "-c", "kept = bytearray(64 << 20); import time; time.sleep(1000)"]
[modules.tts]
host = "edge"
command = ["sleep", "1000"]
"""


def host(otter, name: str = "phone") -> dict:
    return {h["name"]: h for h in otter.json("status")["hosts"]}[name]


@pytest.fixture
def scarce(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(MESH))
    return otter


def test_hosts_and_modules_change_live_and_only_in_what_is_named(scarce):
    otter = scarce
    pids = {name: m["pid"] for name, m in otter.modules("scarce").items()}
    (told,) = otter.json("shape", "host", "phone", "--cpu", "0.5")["hosts"]
    assert told["in_force"]["cpu"] == 0.5
    assert told["in_force"]["memory_bytes"] == 512 << 20
    assert told["layers"]["topology"] == {"cpu": 1.0, "memory_bytes": 512 << 20}
    # A module may ask for more than its host has: it gets what there is, and its own again later.
    assert otter.modules("scarce")["asr"]["in_force"]["cpu"] == 0.5
    (told,) = otter.json("shape", "module", "a*", "--cpu", "0.25", "--memory", "256MiB")["modules"]
    assert told["in_force"]["cpu"] == 0.25
    assert told["in_force"]["memory_bytes"] == 256 << 20
    assert otter("shape", "show", "asr").stdout.count("cpu 0.25, memory 256MiB") == 3
    said = otter("status").stdout
    assert "host phone: cpu 0.5 by hand" in said
    otter("apply", otter.root / "topology.toml")  # which keeps what was changed by hand
    assert host(otter)["asked"]["cpu"] == 0.5
    otter("shape", "reset")
    assert host(otter)["in_force"]["cpu"] == 1.0
    told = otter.modules("scarce")["asr"]["in_force"]
    assert {name: value for name, value in told.items() if value is not None} == {
        "cpu": 0.8, "pids": 4096, "period_s": 0.005,
    }  # fmt: skip
    assert {name: m["pid"] for name, m in otter.modules("scarce").items()} == pids
    kinds = [
        json.loads(line) for line in otter("events", "-m", "scarce", "--json").stdout.splitlines()
    ]
    told = [(e["kind"], e["subject"], e["state"]) for e in kinds if "shape" in e["text"]]
    assert told[:2] == [("host", "phone", "changed"), ("module", "asr", "changed")]


def test_a_lease_ends_when_an_agent_next_starts_at_the_latest(scarce):
    otter = scarce
    otter("shape", "host", "phone", "--cpu", "0.5", "--for", "1s")
    ends = time.monotonic() + 1.0
    otter.kill_agent()
    wait_for(lambda: time.monotonic() > ends, "the end of the lease")
    otter.serve()
    wait_for(lambda: host(otter)["in_force"]["cpu"] == 1.0, "the lease never ended")
    assert "shape" not in host(otter)["layers"]
    wait_for(lambda: "is over" in otter("events").stdout, "nobody told of its end")


def test_memory_below_what_is_in_use_is_refused_and_the_former_limit_holds(scarce):
    otter = scarce

    def used() -> bool:
        pid = otter.modules("scarce")["asr"]["pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) > 64 << 10

    wait_for(used, "the module never used its memory")
    for kind, name in (("module", "asr"), ("host", "phone")):
        before = otter.json("shape", "show", name)[f"{kind}s"][0]
        done = otter("shape", kind, name, "--cpu", "0.5", "--memory", "8MiB", code=1)
        assert "are in use, more than the" in done.stdout
        after = otter.json("shape", "show", name)[f"{kind}s"][0]
        assert after == before  # the cpu as well: all that was asked with it
    assert otter.json("status")["state"] == "ready"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("host",), "say what to change"),
        (("host", "phone", "--cpu", "fast"), "--cpu fast: cores, such as 0.5, or none"),
        (("module", "asr", "--memory", "much"), "--memory: "),
        (("host", "phone", "--cpu", "1", "--for", "soon"), "--for: "),
    ],
)
def test_what_cannot_be_read_is_a_wrong_usage(shared_otter, arguments, said):
    assert said in shared_otter("shape", *arguments, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("host", "phne", "--cpu", "1"), 1, "host phne: not in mesh scarce"),
        (("module", "asr", "--cpu", "0"), 2, "--cpu 0: cores, such as 0.5, or none"),
        (("module", "asr", "--cpu", "0.0001"), 1, "0.0001 cores: from 0.001"),
        (("host", "phone", "--cpu", "9999"), 1, "don't fit this machine"),
        (("reset", "nothing"), 1, "no link, host or module of that name"),
        (("host", "phone", "--cpu", "9999", "--dry-run"), 1, "don't fit this machine"),
        (("host", "--cpu", "0.5", "--dry-run"), 0, "2 hosts would be changed"),
        (("module", "asr", "--memory", "1GiB", "-n"), 0, "1 module would be changed"),
    ],
)
def test_what_cannot_be_had_changes_nothing(scarce, arguments, code, said):
    before = scarce.json("shape", "show")
    assert said in scarce("shape", *arguments, code=code).stderr
    assert scarce.json("shape", "show") == before
