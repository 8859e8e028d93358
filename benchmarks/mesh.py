"""What a running mesh costs: applying again, the agent at rest, a ring of 100 hosts with modules.

Everything through the installed commands, in a root of its own, with the process runtime.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.row import NotHere, Row
from benchmarks.timing import medians

MODULES = 30
AGAIN_RUNS = 11
AGAIN_GOAL_S = 0.5
REST_S = 20.0
RSS_GOAL_B = 72_000_000
CPU_GOAL = 0.01
RING = 100
RING_RUNS = 3


def rows() -> list[Row]:
    """Rows for a mesh of 30 sleeping modules, and for a ring of 100 hosts with one module each."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    with agent() as (otterctl, folder):
        file = folder / "thirty.toml"
        file.write_text(star(MODULES))
        run(otterctl, "apply", str(file))
        again = medians({"ours": [*otterctl, "apply", str(file)],
                         "python -c pass": [sys.executable, "-c", "pass"]}, AGAIN_RUNS)  # fmt: skip
        rss, share = at_rest(folder)
        run(otterctl, "destroy", "--yes", "--no-fetch")
        up, down = ring(otterctl, folder)
    bare = again["python -c pass"]
    return [
        _row("a second apply with nothing to do", "s", again["ours"], AGAIN_GOAL_S, AGAIN_RUNS,
             {}, bare),
        _row(f"agent with {MODULES} modules: resident", "B", rss, RSS_GOAL_B, 1, {}, None),
        _row(f"agent with {MODULES} modules at rest: cores", "1", share, CPU_GOAL, 1, {}, None),
        _row(f"apply: ring of {RING} hosts, a process each", "s", up, None, RING_RUNS, {}, None),
        _row(f"destroy: ring of {RING} hosts, a process each", "s", down, None, RING_RUNS, {},
             None),
    ]  # fmt: skip


def _row(
    name: str, unit: str, ours: float, goal: float | None, n: int, peers: dict[str, float],
    limit: float | None,
) -> Row:  # fmt: skip
    return {
        "name": name, "unit": unit, "better": "lower", "ours": ours, "peers": peers,
        "limit": limit, "goal": goal, "n": n,
    }  # fmt: skip


@contextmanager
def agent(docker: str | None = None) -> Iterator[tuple[list[str], Path]]:
    """An agent of our own; gives the `otterctl` command line and a scratch folder."""
    folder = Path(tempfile.mkdtemp(prefix="otter-bench-"))
    root = folder / "a"
    bin_folder = Path(sys.executable).parent
    engine = docker or f"unix://{folder}/none.sock"
    serve = [str(bin_folder / "otter-agent"), "serve", "--root", str(root), "--docker", engine]
    otterctl = [str(bin_folder / "otterctl"), "--root", str(root), "--runs", str(folder / "runs")]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        while not (root / "run" / "agent.sock").exists():
            if child.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.01)
        yield otterctl, folder
    finally:
        listed = subprocess.run([*otterctl, "ls", "--json"], capture_output=True, check=False)
        for mesh in json.loads(listed.stdout or "[]"):
            run(otterctl, "destroy", "-m", mesh["mesh"], "--yes", "--no-fetch")
        child.terminate()
        child.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def run(otterctl: list[str], *arguments: str) -> float:
    """Run a verb to its end; returns how long it took."""
    began = time.perf_counter()
    done = subprocess.run([*otterctl, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return time.perf_counter() - began


def at_rest(folder: Path) -> tuple[float, float]:
    """Resident bytes of the agent, and its share of a core over a while of doing nothing."""
    pid = int((folder / "a" / "run" / "agent.pid").read_text())
    before = cpu_s(pid)
    time.sleep(REST_S)
    share = (cpu_s(pid) - before) / REST_S
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * float(os.sysconf("SC_PAGE_SIZE")), share


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


def ring(otterctl: list[str], folder: Path) -> tuple[float, float]:
    """Median seconds of apply and destroy, `otterctl` from start to exit."""
    ups, downs = [], []
    for _ in range(RING_RUNS):
        file = folder / "ring.toml"
        file.write_text(ring_topology(RING))
        ups.append(run(otterctl, "apply", str(file)))
        downs.append(run(otterctl, "destroy", "--yes", "--no-fetch"))
    return statistics.median(ups), statistics.median(downs)


def star(modules: int, module: str = 'command = ["sleep", "1000000"]\nruntime = "process"') -> str:
    """A topology of three hosts, with `modules` sleeping modules spread over them."""
    hosts = "".join(f"[hosts.h{i}]\n" for i in range(3))
    links = "".join(f'[[links]]\nbetween = ["h0", "h{i}"]\n' for i in (1, 2))
    return f'name = "bench"\n{hosts}{links}' + "".join(
        f'[modules.m{i}]\nhost = "h{i % 3}"\n{module}\n' for i in range(modules)
    )


def ring_topology(hosts: int) -> str:
    """A ring, with one sleeping process on each host."""
    parts = ['name = "ring"\n']
    for i in range(hosts):
        parts.append(f"[hosts.h{i}]\n")
        parts.append(f'[[links]]\nbetween = ["h{i}", "h{(i + 1) % hosts}"]\n')
        parts.append(f'[modules.m{i}]\nhost = "h{i}"\nruntime = "process"\n')
        parts.append('command = ["sleep", "1000000"]\n')
    return "".join(parts)
