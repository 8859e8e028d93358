"""A packet-delivery trace, from file to packets: each leaves at its opportunity, and not before."""

from __future__ import annotations

import statistics
import subprocess

import pytest
from helpers.otter import wait_for

pytestmark = [pytest.mark.timed, pytest.mark.netns]

MESH = """
name = "packets"
[defaults.module]
runtime = "process"
[hosts.phone]
[hosts.edge]
[[links]]
name = "radio"
between = ["phone", "edge"]
rate = "1mbit"
queue = "200 packets"
trace = "cell.mm"
reverse = { trace = "none" }
[modules.near]
host = "phone"
command = ["sleep", "1000"]
[modules.far]
host = "edge"
command = ["sleep", "1000"]
"""
TRACE_MS = (20, 20, 20, 220, 260, 500, 500, 505, 800)
COUNT = 40
RECEIVE = f"""
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
s.bind(("0.0.0.0", 9000))
s.settimeout(60)
print("bound", flush=True)
for _ in range({COUNT}):
    data, ancillary, _, _ = s.recvmsg(2048, 256)
    print(*struct.unpack("qq", ancillary[0][2]), *struct.unpack_from("I", data), flush=True)
"""
SEND = f"""
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("far", 9000))
for number in range({COUNT}):
    s.send(struct.pack("I", number) + bytes(1500 - 28 - 4))
"""


def test_each_packet_leaves_at_its_opportunity(otter):
    (otter.root / "cell.mm").write_text("\n".join(map(str, TRACE_MS)) + "\n")
    otter("apply", otter.topology(MESH))
    driver = next(x["driver"] for x in otter.json("status")["links"] if x["from"] == "phone")
    assert driver == "tun"
    inside = ("exec", "far", "--", "python3", "-c", RECEIVE)
    with otter.popen(*inside, stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout.readline() == "bound\n"
        otter("exec", "near", "--", "python3", "-c", SEND)
        found = [tuple(map(int, receiver.stdout.readline().split())) for _ in range(COUNT)]
    assert [number for *_, number in found] == list(range(COUNT))

    shown = otter.json("timeline", "show", "--last", "9")
    assert len(shown["last"]) == 1  # opportunities are handed over once
    assert shown["next"] == []
    epoch = shown["epoch"]
    arrivals = [seconds + nanos * 1e-9 - epoch for seconds, nanos, _ in found]
    cycles = range(int(arrivals[0] // 0.8) - 1, int(arrivals[-1] // 0.8) + 2)
    reference = [cycle * 0.8 + at / 1000 for cycle in cycles for at in TRACE_MS]
    # Full packets, always some waiting: one at each opportunity from the first on. Which was the
    # first can't be told by it alone, as it may be late: the last of which none came too early.
    lates = [
        [seen - at for seen, at in zip(arrivals, reference[start : start + COUNT], strict=True)]
        for start in range(len(reference) - COUNT + 1)
    ]
    fits = [late for late in lates if min(late) > -0.002]  # two clocks
    assert fits, (arrivals, reference)
    assert statistics.median(fits[-1]) < 0.05

    asked = otter.json("shape", "show")
    assert asked
    text = otter("status").stdout
    assert "opportunity by opportunity" in text
    assert "opportunity by opportunity" in otter("timeline", "show").stdout


def test_paused_it_is_a_rate_and_goes_on_where_it_was(otter):
    (otter.root / "cell.mm").write_text("\n".join(map(str, TRACE_MS)) + "\n")
    otter("apply", otter.topology(MESH))

    def applied() -> dict:
        links = otter.json("status")["links"]
        return next(x["applied"] for x in links if x["from"] == "phone")

    wait_for(lambda: "delivery" in applied(), "it never began")
    before = applied()["delivery"]
    otter("timeline", "pause")
    wait_for(lambda: "delivery" not in applied(), "it went on")
    otter("timeline", "start")
    wait_for(lambda: "delivery" in applied(), "it didn't go on")
    assert applied()["delivery"]["zero_s"] > before["zero_s"]

    otter.kill_agent()
    otter.serve()
    now = applied()["delivery"]
    wait_for(lambda: applied()["delivery"]["trace"] == before["trace"], "another one")
    otter("shape", "link", "radio", "--direction", "phone>edge", "--rate", "5mbit")
    assert applied()["rate_bps"] == 5e6
    assert "delivery" not in applied()
    otter("shape", "reset", "radio")
    assert applied()["delivery"] == now


def test_an_event_that_sets_the_rate_holds_for_its_time_and_the_trace_goes_on(otter):
    (otter.root / "cell.mm").write_text("\n".join(map(str, TRACE_MS)) + "\n")
    event = 'at = "500ms"\nlink = "radio:phone>edge"\nset = { rate = "7mbit" }\nfor = "6s"\n'
    otter("apply", otter.topology(f"{MESH}[[events]]\n{event}"))

    def applied() -> dict:
        links = otter.json("status")["links"]
        return next(x["applied"] for x in links if x["from"] == "phone")

    def while_it_holds() -> dict | None:
        now = applied()
        return now if now.get("rate_bps") == 7e6 else None

    assert "delivery" not in wait_for(while_it_holds, "the event never came")
    wait_for(lambda: "delivery" in applied(), "the trace didn't go on")
    shown = otter.json("timeline", "show", "--last", "9")
    assert shown["lateness"]["failed"] == 0
    assert len(shown["last"]) == 3
