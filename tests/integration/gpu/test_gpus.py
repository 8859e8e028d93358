"""What an agent tells of GPUs, by the real binding over a stand-in for NVIDIA's library."""

from __future__ import annotations

import os
import signal

import pytest

NOT_AVAILABLE = (1 << 64) - 1
"""NVML's word for memory of a process that it doesn't know, as with Windows' driver."""
L4 = """
driver 580.82.07
cuda 13000
gpu GPU-1111 NVIDIA L4
memory 24152899584 1073741824
utilisation 37 12
clock 1590 6251 2040
temperature 61
power 55000 72000
mig 0
"""
JETSON = """
driver 540.4.0
cuda 12060
gpu GPU-2222 Orin (nvgpu)
lacks memory
lacks power
lacks mig
lacks events
"""


def test_a_gpu_is_told_in_si_units(asked, machine):
    machine.tell(L4)
    asked.otter.serve()
    state = asked.state()
    assert (state["driver"], state["driver_version"], state["cuda"]) == (
        "nvml",
        "580.82.07",
        "13.0",
    )
    (gpu,) = state["gpus"]
    assert gpu["name"] == "NVIDIA L4"
    assert (gpu["memory_bytes"], gpu["memory_used_bytes"]) == (24152899584, 1073741824)
    assert (gpu["utilisation"], gpu["memory_utilisation"]) == (0.37, 0.12)
    assert (gpu["clock_hz"], gpu["clock_max_hz"]) == (1.59e9, 2.04e9)
    assert gpu["memory_clock_hz"] == 6.251e9
    assert (gpu["temperature_c"], gpu["power_w"], gpu["power_limit_w"]) == (61, 55, 72)
    assert (gpu["mig"], gpu["untold"], gpu["error"]) == (False, [], "")


def test_what_a_gpu_does_not_support_is_named_and_nothing_else_lost(asked, machine):
    machine.tell(JETSON)
    asked.otter.serve()
    (gpu,) = asked.state()["gpus"]
    assert gpu["memory_bytes"] is None
    assert gpu["power_w"] is None
    assert gpu["untold"] == ["memory", "power", "power limit", "mig"]
    assert (gpu["name"], gpu["error"]) == ("Orin (nvgpu)", "")


def test_an_older_driver_tells_the_temperature_by_its_older_call(asked, machine):
    machine.tell(f"fail temperature_v 13\n{L4}")
    asked.otter.serve()
    (gpu,) = asked.until(lambda state: state["gpus"], "a GPU")["gpus"]
    assert (gpu["temperature_c"], gpu["untold"]) == (61, [])
    machine.tell(f"fail temperature_v 13\n{L4}lacks temperature\n")
    (gpu,) = asked.state()["gpus"]
    assert (gpu["temperature_c"], gpu["untold"]) == (None, ["temperature"])


def test_a_value_that_fails_is_no_loss_of_the_gpu(asked, machine):
    """NVML_ERROR_UNKNOWN of one value beside good ones, which real GPUs tell of their power."""
    odd = f"fail power 999\n{L4}"
    machine.tell(odd)
    asked.otter.serve()
    (gpu,) = asked.until(lambda state: state["gpus"], "a GPU")["gpus"]
    assert (gpu["error"], gpu["untold"]) == ("", ["power", "power limit"])
    assert (gpu["uuid"], gpu["memory_bytes"]) == ("GPU-1111", 24152899584)
    for number in (1, 2):  # between two it was looked whether all GPUs are still there
        machine.tell(f"{odd}xid {number} 31\n")
        asked.until(lambda _, n=number: len(asked.events()) >= n, "an event")
    assert [event["state"] for event in asked.events()] == ["xid", "xid"]


def test_no_library_is_a_plain_fact(otter, asked):
    otter.env.pop("LD_LIBRARY_PATH")
    otter.serve()
    assert asked.state() == {
        "driver": "none", "why": "no NVIDIA driver here (libnvidia-ml.so.1)",
        "driver_version": "", "cuda": "", "gpus": [], "shares": [],
        "grants": [], "levels": [],
    }  # fmt: skip
    assert asked.readers() == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("fail init 9", "NVIDIA's driver isn't loaded"),
        ("fail init 18", "NVIDIA's driver and its library differ in version"),
        ("fail init 999", "NVIDIA's driver: Unknown Error"),
        ("fail count 9", "NVIDIA's driver isn't loaded"),
    ],
)
def test_a_driver_that_cannot_be_asked_says_why(asked, machine, line, why):
    machine.tell(f"{line}\n{L4}")
    asked.otter.serve()
    state = asked.until(lambda state: why in state["why"], why)
    assert (state["driver"], state["gpus"]) == ("none", [])


def test_a_process_is_that_of_its_module(asked, machine):
    otter = asked.otter
    otter.serve()
    topology = otter.topology(
        """
        otter = 1
        name = "gpus"
        [hosts.edge]
        [modules.asr]
        host = "edge"
        runtime = "process"
        command = ["sh", "-c", "sleep 1000 & exec sleep 1000"]
        """
    )
    otter("apply", topology)
    pid = otter.wait_state("gpus", "asr", "ready")["pid"]
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        child = int(children.read().split()[0])
    # Compute and MPS of one pid are one client of MPS.
    machine.tell(f"{L4}process mps {child} 536870912\nprocess compute {child} 1\n"
                 f"process graphics {os.getpid()} 7\n")  # fmt: skip
    (gpu,) = asked.until(lambda state: state["gpus"], "a GPU")["gpus"]
    found = {p["pid"]: (p["kind"], p["mesh"], p["module"]) for p in gpu["processes"]}
    assert found == {child: ("mps", "gpus", "asr"), os.getpid(): ("graphics", "", "")}
    (used,) = [p for p in gpu["processes"] if p["pid"] == child]
    assert (used["name"], used["memory_bytes"]) == ("sleep", 536870912)
    _shown(otter)
    # Of both, one tells its memory; then of none: that is no memory of 0.
    for pids, memory in (((child, pid), 536870912), ((pid,), None)):
        known = f"process mps {child} 536870912\n" if child in pids else ""
        machine.tell(f"{L4}{known}process mps {pid} {NOT_AVAILABLE}\n")
        (row,) = [row for row in otter.json("top", "--every", "0.2") if row["kind"] == "module"]
        assert row["gpu_memory_bytes"] == memory


def _shown(otter):
    """By `top` and `status`: what the GPU does, and what the module has on it."""
    rows = {row["kind"]: row for row in otter.json("top", "--every", "0.2")}
    assert list(rows) == ["host", "module", "gpu"]
    assert rows["module"]["gpu_memory_bytes"] == 536870912
    (listed,) = otter.json("gpu", "ls")["local"]["gpus"]
    assert rows["gpu"] == {"kind": "gpu", "machine": "local", **listed}
    assert listed["name"] == "NVIDIA L4"
    does = ("utilisation", "memory_used_bytes", "memory_bytes", "clock_hz", "temperature_c",
            "power_w", "error")  # fmt: skip
    values = [listed[what] for what in does]
    assert values == [0.37, 1073741824, 24152899584, 1.59e9, 61.0, 55.0, ""]
    line = "GPU 0 of local: NVIDIA L4, 37% in use, 1GiB of "
    (told,) = [at for at in otter("status").stdout.splitlines() if line in at]
    assert told.endswith(", 1590 MHz, 61 C, 55 W")
    shown = otter("top", "--every", "0.2").stdout
    assert "512MiB" in shown
    assert ["local", "0", "NVIDIA", "L4", "37%"] in [row.split()[:5] for row in shown.splitlines()]


def test_an_error_of_the_driver_is_an_event(asked, machine):
    machine.tell(L4)
    asked.otter.serve()
    asked.until(lambda state: state["gpus"], "a GPU")
    machine.tell(f"{L4}xid 1 31\n")
    (event,) = asked.until(lambda _: asked.events(), "an event") and asked.events()
    assert (event["subject"], event["state"]) == ("0", "xid")
    assert event["text"] == "GPU 0: XID 31: a kernel of a program used memory that isn't its own"
    assert event["data"] == {"uuid": "GPU-1111", "xid": 31}


def test_a_gpu_that_tells_no_errors_silences_no_other(asked, machine):
    both = f"{JETSON}gpu GPU-1111 NVIDIA L4\n"
    machine.tell(both)
    asked.otter.serve()
    asked.until(lambda state: len(state["gpus"]) == 2, "two GPUs")
    machine.tell(f"{both}xid 1 31\n")
    (event,) = asked.until(lambda _: asked.events(), "an event") and asked.events()
    assert (event["subject"], event["data"]["uuid"]) == ("1", "GPU-1111")


def test_a_gpu_that_is_lost_is_told_and_so_is_its_return(asked, machine):
    machine.tell(f"{L4}gpu GPU-3333 NVIDIA L4\n")
    asked.otter.serve()
    asked.until(lambda state: len(state["gpus"]) == 2, "two GPUs")
    machine.tell(f"{L4}gpu GPU-3333 NVIDIA L4\nlost\n")
    state = asked.until(lambda state: state["gpus"][1]["error"], "a lost GPU")
    assert state["gpus"][1]["error"] == "NVIDIA's driver: GPU is lost"
    assert state["gpus"][0]["error"] == ""
    asked.until(lambda _: [e["state"] for e in asked.events()] == ["lost"], "word of the loss")
    machine.tell(f"{L4}gpu GPU-3333 NVIDIA L4\n")
    asked.until(lambda _: [e["state"] for e in asked.events()] == ["lost", "back"], "its return")


def _of_driver(asked):
    return [(e["state"], e["text"]) for e in asked.events() if e["subject"] == "driver"]


def test_a_driver_that_goes_is_told_whoever_meets_it_first_and_so_is_its_return(asked, machine):
    machine.tell(L4)
    asked.otter.serve()
    asked.until(lambda state: state["gpus"], "a GPU")
    machine.tell(f"fail count 9\n{L4}")
    asked.state()  # what asks may end the reader before what listens has met it
    gone = ("lost", "NVIDIA's driver isn't loaded")
    asked.until(lambda _: _of_driver(asked) == [gone], "word of the loss")
    assert asked.state()["why"] == gone[1]
    machine.tell(L4)
    back = ("back", "NVIDIA's driver answers again, of GPUs 0")
    asked.until(lambda _: _of_driver(asked) == [gone, back], "word of its return")


def test_a_driver_that_hangs_holds_nobody_up(asked, machine):
    machine.tell(L4)
    asked.otter.serve()
    asked.until(lambda state: state["gpus"], "a GPU")
    (reader,) = asked.readers()
    machine.tell(f"hang count 1000\n{L4}")
    state = asked.state()
    assert state["why"] == "NVIDIA's driver hasn't answered for 5 s"
    assert asked.otter.json("ls") == []  # the agent serves
    assert [e["state"] for e in asked.events()] == ["lost"]
    asked.until(lambda _: reader not in asked.readers(), "the reader that hangs is ended")
    machine.tell(L4)
    asked.until(lambda state: state["gpus"], "the driver answers again")


def test_a_killed_reader_is_replaced(asked, machine):
    machine.tell(L4)
    asked.otter.serve()
    asked.until(lambda state: state["gpus"], "a GPU")
    (reader,) = asked.readers()
    os.kill(reader, signal.SIGKILL)
    asked.until(lambda state: state["gpus"] and asked.readers() != [reader], "another reader")


def test_no_reader_outlives_a_killed_agent(asked, machine):
    machine.tell(L4)
    asked.otter.serve()
    asked.until(lambda state: state["gpus"], "a GPU")
    (before,) = asked.readers()
    asked.otter.kill_agent()
    asked.otter.serve()

    def another():
        now = asked.readers()
        return now and before not in now

    asked.until(lambda _: another(), "another reader, and the former has ended")


def test_gpus_are_shown_with_whose_processes_they_run(asked, machine):
    machine.tell(f"{L4}process compute {os.getpid()} 536870912\n")
    asked.otter.serve()
    asked.until(lambda state: state["gpus"], "a GPU")
    shown = asked.otter("gpu", "ls").stdout
    assert "NVIDIA L4" in shown
    assert "37%" in shown
    assert f"{os.getpid()}" in shown
    assert asked.otter.json("gpu", "ls")["local"]["gpus"][0]["uuid"] == "GPU-1111"
