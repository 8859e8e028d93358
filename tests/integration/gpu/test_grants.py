"""Modules that are given GPUs: by real agents, over stand-ins for NVIDIA's library and for MPS."""

from __future__ import annotations

import json
import os
import signal

from helpers import mps
from helpers.otter import command_line, wait_for

L4 = "driver 580.82.07\ncuda 13000\ngpu GPU-1111 NVIDIA L4\nmemory 24152899584 0\n"
TWO = f"{L4}gpu GPU-2222 NVIDIA L4\nmemory 24152899584 0\n"
SPLIT = TWO.replace("memory", "mig 1\nmemory")
"""Both into instances (MIG)."""
SHOWS = "env | grep -E 'CUDA|NVIDIA|OTTER_GPU|TF_FORCE' | sort; exec sleep 1000"


def topology(otter, *modules: tuple[str, str], top: str = ""):
    """`(name, gpu)`, each of which shows what it was started with."""
    text = f'name = "gpus"\n{top}[defaults.module]\nruntime = "process"\nhost = "edge"\n'
    text += "[hosts.edge]\ngpu = { count = 2 }\n"
    for name, rest in modules:
        text += f'[modules.{name}]\ncommand = ["sh", "-c", """{SHOWS}"""]\n{rest}\n'
    return otter.topology(text)


def grants(asked):
    return {grant["module"]: grant for grant in asked.state()["grants"]}


def daemon(otter) -> int:
    """The pid of MPS's daemon; 0: none runs."""
    try:
        pid = int((otter.root / "a" / "run" / "mps" / "pipe" / f"{mps.NAME}.pid").read_text())
    except (OSError, ValueError):
        return 0
    return pid if is_daemon(pid) else 0


def is_daemon(pid: int) -> bool:
    return any(word.endswith(mps.NAME) for word in command_line(pid))


def test_who_asks_for_more_than_there_is_is_refused_or_runs_without(asked, machine):
    otter = asked.otter
    machine.tell(L4)
    otter.serve()
    asks = topology(otter, ("a", "gpu = { count = 2 }"))
    said = otter("apply", asks, code=1).stderr
    assert "module a asks for 2 GPUs: this machine has 1" in said
    planned = otter("plan", asks, code=None)
    assert "module a asks for 2 GPUs" in planned.stdout + planned.stderr
    machine.tell("fail init 9\n")
    asked.until(lambda state: not state["gpus"], "the driver is gone")
    degraded = topology(otter, ("a", "gpu = { count = 2 }"), top="allow_degraded = true\n")
    planned = otter("plan", degraded)
    assert "module a runs without 2 GPUs: this machine has none" in planned.stdout + planned.stderr
    otter("apply", degraded)
    assert "this machine has none" in grants(asked)["a"]["why"]
    told = wait_for(lambda: _variables(otter, "a", "CUDA_VISIBLE_DEVICES"), "its variables")
    assert told == {"CUDA_VISIBLE_DEVICES": ""}


def test_an_engine_without_a_way_to_gpus_is_no_place_for_who_asks_for_one(
    asked_of_containers, machine, busybox_image
):
    asked, otter = asked_of_containers, asked_of_containers.otter
    machine.tell(L4)
    otter.serve()
    asked.until(lambda state: state["gpus"], "a GPU")
    text = f"""
        name = "gpus"
        [hosts.edge]
        [modules.a]
        host = "edge"
        image = "{busybox_image}"
        command = ["sleep", "1000"]
        """
    said = otter("apply", otter.topology(f"{text}gpu = {{ count = 1 }}\n"), code=1)
    assert "has no way to GPUs" in said.stdout + said.stderr
    assert "nvidia-ctk cdi generate" in said.stdout + said.stderr
    degraded = f"allow_degraded = true\n{text}gpu = {{ count = 1 }}\n"
    otter("apply", otter.topology(degraded))
    assert "has no way to GPUs" in grants(asked)["a"]["why"]


def test_the_ladder_from_request_to_end(asked, machine):
    """Two modules by MPS: variables, verify, a live share, a killed daemon, a GPU lost, the end."""
    otter = asked.otter
    otter.env["PATH"] = mps.PATH
    machine.tell(TWO)
    otter.serve()
    first = ("a", 'gpu = { count = 2, memory = "1GiB", share = "75%" }')
    second = ("b", 'gpu = { share = "25%" }\nenv = { CUDA_MPS_PIPE_DIRECTORY = "/elsewhere" }')
    otter("apply", topology(otter, first, second))
    pipe = otter.root / "a" / "run" / "mps" / "pipe"
    told = wait_for(lambda: _variables(otter, "a", "OTTER_GPU_MEMORY_FRACTION"), "its variables")
    assert told == {
        "CUDA_VISIBLE_DEVICES": "GPU-1111,GPU-2222", "NVIDIA_VISIBLE_DEVICES": "GPU-1111,GPU-2222",
        "CUDA_MPS_PIPE_DIRECTORY": str(pipe),
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=1024M,1=1024M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "75",
        "OTTER_GPU_MEMORY_BYTES": str(1 << 30), "OTTER_GPU_MEMORY_FRACTION": "0.044456",
    }  # fmt: skip
    given = grants(asked)
    assert (given["a"]["memory"], given["a"]["time"], given["a"]["trouble"]) == ("mps", "mps", "")
    assert "limit: " in given["a"]["why"]
    # A share of its own demands no GPU, but gets one; where it leads MPS's clients is said.
    assert len(given["b"]["uuids"]) == 1
    assert "its own env says CUDA_MPS_PIPE_DIRECTORY otherwise" in given["b"]["trouble"]
    _verified(asked)
    _shared_live(asked)
    _cut_off(asked)
    _beside(asked, machine)
    machine.tell(L4)
    lost = asked.until(lambda _: _events(asked, "lost", "a"), "word of it") and asked.events()
    assert any("GPU-2222: answers no more" in event["text"] for event in lost)
    inside = otter("exec", "a", "--", "sh", "-c", 'cat "$(dirname $OTTER_WIRING)/gpu.json"').stdout
    assert "GPU-2222: answers no more" in json.loads(inside)["trouble"]  # so the module is told
    assert otter.modules("gpus")["a"]["state"] in ("running", "ready")
    last = daemon(otter)
    assert last
    otter("destroy", "--yes", "--no-fetch")
    wait_for(lambda: not is_daemon(last) and not pipe.exists(), "MPS has ended")
    assert asked.state()["grants"] == []


def _variables(otter, module: str, last: str) -> dict[str, str]:
    """What a module was started with, once it has said all of it."""
    lines = [line.split(" ", 1)[-1] for line in otter("logs", module).stdout.splitlines()]
    pairs = [line.strip().rpartition(" ")[2].partition("=") for line in lines if "=" in line]
    found = {name: value for name, _, value in pairs}
    return found if last in found else {}


def _verified(asked) -> None:
    (there,) = asked.otter.json("gpu", "verify", "local", code=1).values()  # b isn't held
    said = asked.otter("gpu", "verify", "elsewhere", code=1).stderr
    assert "elsewhere: no site file knows such a machine" in said
    levels = {(fact["level"], fact["gpu"]): fact for fact in there["levels"]}
    assert levels["mps", None]["there"]
    assert levels["lease", None]["there"], levels
    assert levels["accounting", 0]["there"]
    assert not levels["limit", 0]["there"]
    assert levels["limit", 0]["why"]
    assert "its own env says" in asked.otter("gpu", "ls").stdout


def _shared_live(asked) -> None:
    """In force when the verb returns; nothing restarts."""
    otter = asked.otter
    before = {name: module["pid"] for name, module in otter.modules("gpus").items()}
    changed = otter.json("shape", "module", "b", "--gpu-share", "3")
    (budget,) = changed["modules"]
    assert budget["in_force"]["gpu_share"] == budget["asked"]["gpu_share"] == 3.0
    # Turns follow; what MPS gives was fixed when it began.
    stays = "its part of the multiprocessors (MPS) stays 25% until it restarts"
    assert stays in budget["note"]
    assert stays in otter("status").stdout
    assert {name: module["pid"] for name, module in otter.modules("gpus").items()} == before
    otter("shape", "reset", "b")
    assert otter.json("shape", "show", "b")["modules"][0]["note"] == ""
    (host,) = otter.json("shape", "host", "edge", "--gpu-share", "50%")["hosts"]
    assert host["in_force"]["gpu_share"] == host["asked"]["gpu_share"] == 0.5
    assert f"module b: {stays}" in host["note"]
    assert otter.json("shape", "show", "b")["modules"][0]["in_force"]["gpu_share"] == 0.125
    otter("shape", "reset", "edge")
    assert otter.json("shape", "show", "b")["modules"][0]["in_force"]["gpu_share"] == 0.25


def _cut_off(asked) -> None:
    """A daemon that is killed is told, of each of its clients, and has a successor."""
    first = daemon(asked.otter)
    os.kill(first, signal.SIGKILL)
    asked.until(lambda _: _events(asked, "unheld", "a"), "word of it")
    wait_for(lambda: daemon(asked.otter) not in (0, first), "another daemon")
    assert "MPS: " in grants(asked)["a"]["trouble"]
    asked.otter("restart", "a")
    asked.until(lambda state: not _grant(state, "a")["trouble"], "it is held again")


def _beside(asked, machine) -> None:
    """A module that computes without being a client of MPS, as the driver sees it, is named."""
    pid = asked.otter.modules("gpus")["a"]["pid"]
    machine.tell(f"{TWO}process compute {pid} 1048576\n")
    state = asked.until(lambda state: _grant(state, "a")["trouble"], "word of it")
    assert "it computes beside MPS" in _grant(state, "a")["trouble"]
    (processes,) = [gpu["processes"] for gpu in state["gpus"] if gpu["processes"]]
    assert [(p["pid"], p["kind"], p["module"]) for p in processes] == [(pid, "compute", "a")]
    asked.until(
        lambda _: any("beside MPS" in event["text"] for event in _events(asked, "unheld", "a")),
        "the event: it follows the state",
    )
    machine.tell(f"{TWO}process compute {pid} 1048576\nprocess mps {pid} 1048576\n")
    asked.until(lambda state: not _grant(state, "a")["trouble"], "it is held")


def _grant(state, module):
    return next(grant for grant in state["grants"] if grant["module"] == module)


def _events(asked, state: str, subject: str):
    return [e for e in asked.events() if (e["state"], e["subject"]) == (state, subject)]


def test_a_gpu_that_is_split_has_neither_the_drivers_limits_nor_mps(asked, machine):
    """CUDA sees one instance of it, which a daemon of its own would have to serve."""
    otter = asked.otter
    otter.env["PATH"] = mps.PATH
    machine.tell(SPLIT)
    otter.serve()
    asks = ("a", 'gpu = { memory = "1GiB", share = "75%" }'), ("b", 'gpu = { share = "25%" }')
    otter("apply", topology(otter, *asks))
    assert "NVIDIA L4 (MIG)" in otter("gpu", "ls").stdout
    given = grants(asked)
    assert (given["a"]["memory"], given["a"]["time"]) == ("framework", "lease")
    assert "split (MIG)" in given["a"]["why"]
    told = wait_for(lambda: _variables(otter, "a", "TF_FORCE_GPU_ALLOW_GROWTH"), "its variables")
    assert told["OTTER_GPU_MEMORY_BYTES"] == str(1 << 30)
    assert not {name for name in told if "MPS" in name or name.endswith("FRACTION")}
    # A share of the whole is none of the instance's.
    assert (given["b"]["memory"], given["b"]["memory_bytes"]) == ("none", None)
    assert given["b"]["time"] == "lease"
    assert daemon(otter) == 0


def test_a_killed_agents_grants_are_its_successors(asked, machine):
    otter = asked.otter
    otter.env["PATH"] = mps.PATH
    machine.tell(TWO)
    otter.serve()
    otter("apply", topology(otter, ("a", 'gpu = { memory = "1GiB" }')))
    before, running = grants(asked), daemon(otter)
    assert running
    assert (before["a"]["uuids"], before["a"]["memory"]) == (["GPU-1111"], "mps")
    assert "limit: " in before["a"]["why"]
    otter.kill_agent()
    otter.serve()
    assert grants(asked) == before
    assert daemon(otter) == running
    otter("destroy", "--yes", "--no-fetch")
    wait_for(lambda: not is_daemon(running), "MPS has ended")
