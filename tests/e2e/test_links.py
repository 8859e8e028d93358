"""Links are what the topology says, are changed live, and go without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest
from helpers.otter import Otter, command_line, wait_for
from helpers.pings import answered, received, round_trip_s

pytestmark = pytest.mark.netns

MESH = """
name = "shaped"
seed = 7
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[hosts.c]
[[links]]
name = "radio"
between = ["a", "b"]
delay = "20ms"
rate = "10mbit"
queue = "50ms"
reverse = { delay = "10ms" }
[[links]]
name = "wire"
between = ["b", "c"]
[modules.near]
host = "a"
command = ["sleep", "1000"]
[modules.middle]
host = "b"
command = ["sleep", "1000"]
[modules.far]
host = "c"
command = ["sleep", "1000"]
"""


def ping(otter: Otter, module: str, to: str, *more: str) -> str:
    done = otter("exec", module, "--", "ping", "-c3", "-i0.1", "-W5", *more, to, code=None)
    return str(done.stdout)


def takes(otter: Otter, module: str, to: str, at_least_s: float, below_s: float) -> None:
    """No round trip is quicker than that; one is below the other as soon as the machine lets it."""

    def once() -> bool:
        shortest = round_trip_s(ping(otter, module, to))
        assert shortest >= at_least_s
        return shortest < below_s

    wait_for(once, f"no round trip within {below_s} s")


def links(otter: Otter, verb: tuple[str, ...] = ("status",)) -> dict[tuple[str, str], Any]:
    return {(x["name"], x["from"]): x for x in otter.json(*verb)["links"]}


def pids(otter: Otter) -> dict[str, int]:
    return {name: m["pid"] for name, m in otter.modules("shaped").items()}


@pytest.fixture
def shaped(shared_otter: Otter) -> Otter:
    shared_otter("apply", shared_otter.topology(MESH))
    return shared_otter


def test_packets_take_what_the_topology_says(shaped: Otter) -> None:
    takes(shaped, "near", "far", 0.030, 0.060)
    large = ping(shaped, "near", "middle", "-s", "8972")  # 9000 bytes of IP packets, both ways
    assert round_trip_s(large) >= 0.030 + 2 * 9000 * 8 / 10e6
    there = links(shaped)
    assert there["radio", "a"]["asked"] == {"delay_s": 0.02, "rate_bps": 1e7, "queue_s": 0.05}
    assert there["radio", "b"]["asked"]["delay_s"] == 0.01
    for one in there.values():
        for field, asked in one["asked"].items():
            assert one["applied"][field] == pytest.approx(asked, rel=0.01)
    assert (there["wire", "b"]["driver"], there["wire", "b"]["applied"]) == ("none", {})


def test_only_what_is_named_changes_and_nothing_restarts(shaped: Otter) -> None:
    before = pids(shaped)
    said = shaped("shape", "link", "radio", "--direction", "a>b", "--delay", "100ms")
    assert "1 direction of links changed" in said.stderr
    takes(shaped, "near", "middle", 0.110, 0.180)
    changed = links(shaped, ("shape", "show"))
    assert changed["radio", "a"]["asked"] == {"delay_s": 0.1, "rate_bps": 1e7, "queue_s": 0.05}
    assert changed["radio", "a"]["layers"]["shape"] == {"delay_s": 0.1}
    assert changed["radio", "b"]["asked"]["delay_s"] == 0.01
    shaped("shape", "reset", "radio")
    takes(shaped, "near", "middle", 0.030, 0.080)
    assert pids(shaped) == before


def test_a_dry_run_only_says_whether_that_could_be(shaped: Otter) -> None:
    before = {way: (x["asked"], x["layers"]) for way, x in links(shaped).items()}
    said = shaped("shape", "link", "radio", "--delay", "90ms", "--dry-run").stderr
    assert "2 directions of links would be changed" in said
    told = shaped.json("shape", "link", "radio", "--rate", "none", "-n")
    assert told["dry_run"] is True
    refused = shaped("shape", "link", "radio", "--jitter", "90ms", "--dry-run", code=1).stderr
    assert "radio" in refused
    assert {way: (x["asked"], x["layers"]) for way, x in links(shaped).items()} == before


def test_a_link_that_was_free_loses_nothing_when_it_is_first_shaped(shaped: Otter) -> None:
    # With a deadline, answers may be late: `-W` is for who has had none yet.
    command = ["exec", "middle", "--", "ping", "-c100", "-i0.01", "-w60", "far"]
    verb = shaped.popen(*command, stdout=subprocess.PIPE)
    assert verb.stdout is not None
    begun = "".join(verb.stdout.readline() for _ in range(10))
    shaped("shape", "link", "wire", "--delay", "5ms")
    assert answered(begun + verb.communicate(timeout=120)[0]) == list(range(1, 101))
    takes(shaped, "middle", "far", 0.010, 0.040)


def test_without_a_name_every_link_is_cut_for_a_while(shaped: Otter) -> None:
    said = shaped.json("shape", "link", "--down", "--for", "3s")
    assert [x["name"] for x in said["links"]] == ["radio", "radio", "wire", "wire"]
    assert all(0 < x["reverts_in_s"] <= 3 for x in said["links"])
    assert all(x["asked"]["up"] is False for x in said["links"])
    wait_for(lambda: not any("up" in x["asked"] for x in links(shaped).values()), "no revert")
    assert answered(ping(shaped, "near", "far", "-w60")) == [1, 2, 3]
    told = [json.loads(x) for x in shaped("events", "--json").stdout.splitlines()]
    mine = [x for x in told if x["kind"] == "link" and x["mesh"] == "shaped"]
    ended = [x for x in mine if x["state"] == "ended"]
    assert {x["subject"] for x in ended} >= {"radio:a>b", "radio:b>a", "wire:b>c", "wire:c>b"}
    assert mine[-1]["data"]["requested"] == {"up": False}


def test_another_topology_changes_links_live_and_keeps_what_was_done_by_hand(
    shaped: Otter,
) -> None:
    before = pids(shaped)
    shaped("shape", "link", "radio", "--direction", "a>b", "--loss", "0%")
    slower = shaped.topology(MESH.replace('delay = "20ms"', 'delay = "60ms"'))
    planned = shaped("plan", slower)
    assert "forward.delay_s: 20ms -> 60ms" in planned.stdout
    assert "changed by hand, and kept so: radio:a>b" in planned.stderr
    applied = shaped("apply", slower)
    assert "changed by hand" in applied.stderr
    takes(shaped, "near", "middle", 0.070, 0.120)
    assert links(shaped)["radio", "a"]["layers"]["shape"] == {"loss_ratio": 0.0}
    assert pids(shaped) == before


def test_the_agent_killed_links_stay_as_they_are_and_leases_end(shaped: Otter) -> None:
    shaped("shape", "link", "radio", "--direction", "a>b", "--delay", "50ms")
    shaped("shape", "link", "radio", "--direction", "b>a", "--delay", "70ms", "--for", "1s")
    shaped.kill_agent()
    shaped.serve()
    wait_for(lambda: (links(shaped)["radio", "b"]["applied"] or {}).get("delay_s") == 0.01, "over")
    assert links(shaped)["radio", "a"]["asked"]["delay_s"] == 0.05
    takes(shaped, "near", "middle", 0.060, 0.110)


def with_driver(otter: Otter, name: str) -> Otter:
    """The same, whose agent takes no other driver of links than this one."""
    (otter.root / "a").mkdir()
    (otter.root / "a" / "agent.toml").write_text(f'link_driver = "{name}"\n')
    return otter


def test_what_carries_the_links_killed_they_come_back_shaped(otter: Otter) -> None:
    with_driver(otter, "tun")("apply", otter.topology(MESH))
    (helper,) = (p for p in otter.processes() if "otter_agent.links.tun" in command_line(p))
    os.kill(helper, signal.SIGKILL)
    wait_for(lambda: received(ping(otter, "near", "middle", "-W1")) == 3, "no link came back")
    assert round_trip_s(ping(otter, "near", "middle")) >= 0.030
    wait_for(lambda: "what carries the links ended: nothing" in otter("events").stdout, "no word")


def test_nothing_is_left(shaped: Otter) -> None:
    shaped("shape", "link", "--delay", "5ms")
    shaped("destroy", "--yes", "--no-fetch")
    assert shaped.leftovers() == []
    shaped("apply", shaped.topology(MESH))  # nor what was done by hand
    assert all("shape" not in x["layers"] for x in links(shaped).values())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("rado", "--delay", "5ms"), 1, "link rado: not in mesh shaped; there are: radio, wire"),
        (("radio", "--direction", "a>c", "--up"), 1, "has no direction a>c; there are: a>b, b>a"),
        (("radio",), 2, "say what to change"),
        (("radio", "--delay", "5"), 2, "--delay: '5' is not a duration (a unit is missing)"),
        (("radio", "--delay", "-5ms"), 2, "negative"),
        (("radio", "--delay", "2h"), 1, "delay must be between 0 and 1h"),
        (("radio", "--loss", "101%"), 2, "over the limit of 1"),
        (("radio", "--loss", "nan%"), 2, "is not a ratio"),
        (("radio", "--rate", "0bit"), 1, "rate must be above 0"),
        (("radio", "--rate", "20"), 2, "a unit is missing"),
        (("radio", "--jitter", "1s"), 1, "jitter must not be above the delay"),
        (("radio", "--queue", "5ms", "--set", "queue=3 packets"), 1, "a queue has one size"),
        (("radio", "--set", "colour=red"), 2, "`colour` is no property of a link"),
        (("radio", "--set", "delay"), 2, "write KEY=VALUE"),
        (("radio", "--up", "--for", "0s"), 2, "--for 0s: more than no time"),
        (("radio", "--up", "--for", "soon"), 2, "--for: 'soon' is not a duration"),
        (("radio", "--up", "-m", "nowhere"), 1, "no mesh 'nowhere'"),
    ],
)
def test_what_cannot_be_is_told(
    shaped_for_errors: Otter, arguments: tuple[str, ...], code: int, said: str
) -> None:
    refused = shaped_for_errors("shape", "link", *arguments, code=code)
    assert said in refused.stderr
    assert all("shape" not in x["layers"] for x in links(shaped_for_errors).values())


@pytest.fixture(scope="module")
def shaped_for_errors(require: Any) -> Any:
    require("netns", os.geteuid() == 0, "not root")
    otter = Otter()
    try:
        otter("apply", otter.topology(MESH))
        yield otter
    finally:
        otter.close()


def test_a_property_that_cannot_be_had_is_refused_by_name(otter: Otter) -> None:
    file = with_driver(otter, "netem").topology(MESH)
    driver = {c["name"]: c for c in otter.json("doctor")["checks"]}["links netem"]
    if driver["ok"]:
        pytest.skip("this kernel has netem: no driver can be asked for that doesn't work here")
    assert "link radio: no link driver works here (netem:" in otter("plan", file, code=1).stderr
    refused = otter("apply", file, code=1)
    assert "link radio:a>b: delay: no link driver works here (netem:" in refused.stderr
    assert "allow_degraded" in refused.stderr
    planned = otter("plan", file, code=1).stderr
    assert "apply will be refused: local: link radio:a>b" in planned
    file = otter.topology(f"allow_degraded = true\n{MESH}")
    assert "warning: link radio:a>b: rate: no link driver works" in otter("plan", file).stderr
    applied = otter("apply", file)
    assert "link radio:a>b: delay is not made: no link driver works here" in applied.stderr
    lacking = links(otter)["radio", "a"]
    assert (lacking["driver"], sorted(lacking["lacks"])) == (
        "none", ["delay_s", "queue_s", "rate_bps"],
    )  # fmt: skip
    assert "delay is not made" in otter("status").stdout
