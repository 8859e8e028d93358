"""Modules that take turns, by their shares: real agents, a real arbiter, real modules."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import zipfile
from pathlib import Path

import pytest
from helpers.otter import command_line, wait_for

import net

pytestmark = pytest.mark.timed

STEPS = """
import time, net
while True:
    with net.lease():
        end = time.monotonic() + 0.01
        while time.monotonic() < end:
            pass
"""
CHILD = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the first process of a container
subprocess.Popen(["sleep", "1000"])
"""
HANGS = """
import time, net
with net.lease():
    print("holding", flush=True)
    time.sleep(1000)
"""
TELLS = HANGS.replace('"holding"', '"had at", time.monotonic()')
AWAITS = """
import asyncio, net
async def main():
    while True:
        async with net.lease():
            await asyncio.sleep(0.005)
asyncio.run(main())
"""
EVENTS = """
[[events]]
at = "0s"
module = "a"
set = { gpu_share = "5%" }
[[events]]
at = "0s"
host = "edge"
set = { gpu_share = "50%" }
"""
CONTAINER = """
[modules.b]
runtime = "docker"
image = "{image}"
command = ["python3", "-c", '''{source}''']
files = {{ "net.zip" = "net.zip" }}
env = {{ PYTHONPATH = "/work/net.zip" }}
gpu = {{ share = "75%" }}
"""


def topology(otter, **modules):
    """`name = (source, share)`."""
    text = 'name = "turns"\n[defaults.module]\nruntime = "process"\nhost = "edge"\n[hosts.edge]\n'
    for name, (source, share) in modules.items():
        text += f"[modules.{name}]\ncommand = [\"{sys.executable}\", \"-c\", '''{source}''']\n"
        text += f'gpu = {{ share = "{share}" }}\n' if share else ""
    return otter.topology(text)


def arbiters(otter):
    return [pid for pid in otter.processes() if "otter_agent.leasing" in command_line(pid)]


def held(asked):
    return {share["module"]: share["held_s"] for share in asked.state()["shares"]}


def once_both_ask(asked):
    """What each had when both were known to take turns: only who has asked is told of."""

    def both():
        now = held(asked)
        return now if set(now) == {"a", "b"} else None

    return wait_for(both, "both that take turns")


def had_since(asked, before, seconds):
    """Parts of the time that was held after `before`, once that is so many seconds."""

    def enough():
        now = {name: value - before.get(name, 0.0) for name, value in held(asked).items()}
        return now if sum(now.values()) > seconds else None

    found = wait_for(enough, "modules that take turns")
    return {name: value / sum(found.values()) for name, value in found.items()}


def test_modules_take_turns_by_their_shares_and_another_share_holds_at_once(asked):
    asked.otter.serve()
    asked.otter("apply", topology(asked.otter, a=(STEPS, "75%"), b=(AWAITS, "25%")))
    pids = {name: m["pid"] for name, m in asked.otter.modules("turns").items()}
    assert had_since(asked, once_both_ask(asked), 4)["a"] > 0.6
    asked.otter("apply", topology(asked.otter, a=(STEPS, "25%"), b=(AWAITS, "75%")))
    wait_for(
        lambda: (
            {s["module"]: s["weight"] for s in asked.state()["shares"]} == {"a": 0.25, "b": 0.75}
        ),
        "the other shares",
    )
    assert had_since(asked, held(asked), 4)["b"] > 0.6
    # By hand even more than all there is: shares are weights.
    asked.otter("shape", "module", "a", "--gpu-share", "3")
    assert {s["module"]: s["weight"] for s in asked.state()["shares"]} == {"a": 3.0, "b": 0.75}
    shown = [row.split() for row in asked.otter("gpu", "ls").stdout.splitlines()]
    assert {row[3]: row[4] for row in shown if row[:3] == ["local", "gpu", "turns"]} == {
        "a": "80%", "b": "20%",
    }  # fmt: skip
    assert {name: m["pid"] for name, m in asked.otter.modules("turns").items()} == pids
    asked.otter("destroy", "--yes", "--no-fetch")
    wait_for(lambda: arbiters(asked.otter) == [], "nobody shares any more")


def test_events_change_shares_while_modules_take_turns(asked):
    """Of a module, and of its host: what the file says of both is played, and restarts nobody."""
    asked.otter.serve()
    mesh = topology(asked.otter, a=(STEPS, "75%"), b=(AWAITS, "25%"))
    with mesh.open("a") as file:
        file.write(EVENTS)
    asked.otter("apply", mesh)
    pids = {name: m["pid"] for name, m in asked.otter.modules("turns").items()}
    wait_for(
        lambda: (
            {s["module"]: s["weight"] for s in asked.state()["shares"]} == {"a": 0.025, "b": 0.125}
        ),
        "the shares of the events",
    )
    assert had_since(asked, held(asked), 2)["a"] < 0.4
    of_module = asked.otter.json("shape", "show", "a")["modules"][0]
    assert of_module["asked"]["gpu_share"] == 0.05
    assert of_module["in_force"]["gpu_share"] == 0.025
    assert {name: m["pid"] for name, m in asked.otter.modules("turns").items()} == pids
    asked.otter("destroy", "--yes", "--no-fetch")
    wait_for(lambda: arbiters(asked.otter) == [], "nobody shares any more")


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_a_container_takes_turns_with_a_process_and_its_processes_are_known(
    asked_of_containers, machine, python_root
):
    """By the SDK's own files, in an image that has nothing but Python."""
    asked = asked_of_containers
    asked.otter.serve()
    with zipfile.ZipFile(asked.otter.root / "net.zip", "w") as archive:
        for file in Path(net.__file__).parent.glob("*.py"):
            archive.write(file, f"net/{file.name}")
    mesh = topology(asked.otter, a=(AWAITS, "25%"))
    with mesh.open("a") as file:
        file.write(CONTAINER.format(image=python_root, source=CHILD + STEPS))
    asked.otter("apply", mesh)
    modules = asked.otter.modules("turns")
    assert {name: m["runtime"] for name, m in modules.items()} == {"a": "process", "b": "docker"}
    assert had_since(asked, once_both_ask(asked), 2)["b"] > 0.6
    assert "nobody gives turns" not in asked.otter("logs").stdout
    first = modules["b"]["pid"]
    (child,) = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    pids = {int(child): "b", modules["a"]["pid"]: "a"}
    machine.tell("gpu GPU-1 L4\n" + "".join(f"process compute {pid} 1\n" for pid in pids))
    (gpu,) = asked.until(lambda state: state["gpus"], "a GPU")["gpus"]
    assert {p["pid"]: p["module"] for p in gpu["processes"]} == pids
    asked.otter("destroy", "--yes", "--no-fetch")
    wait_for(lambda: arbiters(asked.otter) == [], "nobody shares any more")


def test_a_holder_that_is_killed_gives_way_within_a_second(asked):
    """By the other's own word: the clock is the same in all processes of a machine."""
    asked.otter.serve()
    asked.otter("apply", topology(asked.otter, a=(HANGS, "50%")))
    asked.until(lambda state: [s["holds_s"] for s in state["shares"]] != [None], "a holder")
    pid = asked.otter.modules("turns")["a"]["pid"]  # looked up now: its turn lasts 10 s at most
    asked.otter("apply", topology(asked.otter, a=(HANGS, "50%"), b=(TELLS, "50%")))
    asked.until(
        lambda state: any(s["module"] == "b" and s["waiting"] for s in state["shares"]), "a waiter"
    )
    assert "b" not in {m for m, seconds in held(asked).items() if seconds}
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    (had_at,) = wait_for(
        lambda: re.findall(r"had at ([\d.]+)", asked.otter("logs", "b").stdout), "its turn"
    )
    assert 0 < float(had_at) - killed_at < 1
    assert not any(s["revoked"] for s in asked.state()["shares"])  # it was given back


def test_a_holder_that_hangs_loses_its_turn_and_that_is_told(asked):
    asked.otter.serve()
    asked.otter("apply", topology(asked.otter, a=(HANGS, "50%"), b=(STEPS, "50%")))
    asked.until(lambda _: held(asked).get("b"), "the other's turn")
    events = asked.until(lambda _: asked.events(), "word of it") and asked.events()
    assert [(e["mesh"], e["subject"], e["state"]) for e in events] == [("turns", "a", "revoked")]


def test_an_arbiter_that_is_killed_has_a_successor_and_modules_go_on(asked):
    asked.otter.serve()
    asked.otter("apply", topology(asked.otter, a=(STEPS, "50%"), b=(AWAITS, "50%")))
    had_since(asked, {}, 0.2)
    (before,) = arbiters(asked.otter)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: arbiters(asked.otter) not in ([], [before]), "another arbiter")
    wait_for(
        lambda: {m for m, seconds in held(asked).items() if seconds} == {"a", "b"},
        "both that go on",
    )
    states = {m["state"] for m in asked.otter.modules("turns").values()}
    assert states <= {"running", "ready"}


def test_turns_go_on_without_the_agent(asked):
    asked.otter.serve()
    asked.otter("apply", topology(asked.otter, a=(STEPS, "50%"), b=(AWAITS, "50%")))
    had_since(asked, {}, 0.2)
    before = arbiters(asked.otter)
    asked.otter.kill_agent()
    asked.otter.serve()
    had_since(asked, held(asked), 0.2)
    assert arbiters(asked.otter) == before


def test_without_a_share_a_lease_is_nothing(asked):
    asked.otter.serve()
    source = 'import net; turn = net.lease().__enter__(); print("shared", turn.shared); '
    source += "net.lease().__enter__()"
    asked.otter("apply", topology(asked.otter, a=(source, "")))
    asked.otter.wait_state("turns", "a", "done")
    log = asked.otter("logs", "a").stdout
    assert "shared False" in log
    assert log.count("nobody gives turns to this module") == 1
    assert arbiters(asked.otter) == []
