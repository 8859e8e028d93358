"""24 lab machines, each with a real sshd and a real agent: up, in one mesh, and gone again.

    python -m benchmarks joined          needs root and openssh-server

Machines are namespaces of this computer, so all of them share its cores: a lower bound of what 24
computers could do. `joined` is the time from nothing to a mesh of 240 processes that are ready.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.row import NotHere, Row
from benchmarks.unpacked import layers
from otter_ctl.lab.errors import LabError
from otter_ctl.lab.lab import Lab

MACHINES = 24
MODULES = 10
GOAL_S = 60.0


def rows() -> list[Row]:
    """One row a step, and the whole."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    folder = Path(tempfile.mkdtemp(prefix="otter-joined-"))
    lab = Lab(folder / "lab")
    try:
        return _measured(lab, folder)
    except LabError as error:
        raise NotHere(str(error)) from error
    finally:
        lab.down()
        shutil.rmtree(folder)


def _measured(lab: Lab, folder: Path) -> list[Row]:
    begun = time.perf_counter()
    lab.up(MACHINES, docker=False, layers=layers())
    up_s = time.perf_counter() - begun
    file = folder / "topology.toml"
    file.write_text(topology())
    otterctl = _Otterctl(lab, folder)
    took = {
        "apply": otterctl("apply", str(file)),
        "status": otterctl("status"),
        "apply again": otterctl("apply", str(file)),
        "destroy": otterctl("destroy", "--yes", "--no-fetch"),
    }
    name = f"{MACHINES} lab machines, {MACHINES * MODULES} processes"
    whole = up_s + took["apply"][0]
    found = [_row(f"{name}: joined and applied, from nothing", whole, None, GOAL_S)]
    found.append(_row(f"{name}: machines up, each with sshd and an agent", up_s, None, None))
    return found + [_row(f"{name}: otterctl {v}", s, cpu_s, None) for v, (s, cpu_s) in took.items()]


def _row(name: str, seconds: float, cpu_s: float | None, goal: float | None) -> Row:
    row: Row = {
        "name": name, "unit": "s", "better": "lower", "ours": seconds, "peers": {},
        "limit": None, "goal": goal, "n": 1,
    }  # fmt: skip
    if cpu_s is not None:
        row["note"] = f"CPU of the controller {cpu_s:.2f} s"
    return row


class _Otterctl:
    """Whole commands, with the lab's site."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._start = [
            str(Path(sys.executable).with_name("otterctl")), "--root", str(folder / "none"),
            "--runs", str(folder / "runs"),
        ]  # fmt: skip
        self._env = {**os.environ, "OTTER_SITE": str(lab.folder / "site.toml")}

    def __call__(self, *words: str) -> tuple[float, float]:
        """Seconds from start to exit, and of processor time."""
        before, begun = _used_s(), time.perf_counter()
        done = subprocess.run(
            [*self._start, *words], env=self._env, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{words}: {done.stderr[-2000:]}")
        return time.perf_counter() - begun, _used_s() - before


def _used_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def topology() -> str:
    """A star of hosts, one a machine, with ten sleeping processes each."""
    lines = ['name = "joined"', "[defaults.module]", 'runtime = "process"']
    lines += [f'[hosts.h{n}]\nmachine = "lab{n}"' for n in range(1, MACHINES + 1)]
    lines += [
        f'[[links]]\nbetween = ["h1", "h{n}"]\ndelay = "5ms"\nrate = "50mbit"'
        for n in range(2, MACHINES + 1)
    ]
    run = 'command = ["sleep", "1000000"]'
    lines += [f'[modules.m{n}]\nhost = "h*"\n{run}' for n in range(MODULES)]
    return "\n".join(lines) + "\n"
