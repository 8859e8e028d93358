"""Working on a module: from a save to its first line of the new life; and logs that never end.

The limit is the interpreter's own start. Logs: what a process module that prints 100 MB/s costs,
and how soon the agent answers meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mesh import agent, run, star
from benchmarks.row import NotHere, Row
from benchmarks.timing import medians

SAVES = 15
GOAL_S = 1.0
"""Beyond the module's own model load."""
FLOOD_S = 5.0
TAB_MODULES = 100
TAB_RUNS = 11
TAB_GOAL_S = 0.15
STATUS_GOAL_S = 0.5
SCRIPTS = {
    "process": ("module.py", "import time\nprint('life {n}', flush=True)\ntime.sleep(1000)\n"),
    "docker": ("run.sh", "echo life {n}\nexec sleep 1000\n"),
}
PRINTER = """
import os, time
lines = b"a line of some fifty bytes, as programs like them\\n" * 20000  # 1 MB
began, n = time.monotonic(), 0
while True:
    n += os.write(1, lines)
    time.sleep(max(0.0, n / 100e6 - (time.monotonic() - began)))
"""
FLOOD = f"""
name = "flood"
[defaults.module]
runtime = "process"
[hosts.a]
[modules.loud]
command = ["python3", "-c", {json.dumps(PRINTER)}]
host = "a"
[modules.quiet]
command = ["sleep", "1000"]
host = "a"
"""
_TESTS = str(Path(__file__).parent.parent / "tests")


def rows() -> list[Row]:
    """Both runtimes, where they are; then the logs."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    bare = medians({"": [sys.executable, "-c", "pass"]}, SAVES)[""]
    found = []
    with agent() as (otterctl, folder):
        found.append(_row("process", _saves("process", "", otterctl, folder), bare))
        found += _flood(otterctl, folder)
        found.append(_completion(otterctl, folder, bare))
    with contextlib.suppress(NotHere), _engine() as (url, image), agent(url) as (otterctl, folder):
        found.append(_row("docker", _saves("docker", image, otterctl, folder), None))
    return found


def _row(runtime: str, seconds: float, limit: float | None) -> Row:
    return Row(
        name=f"dev: save to first line, {runtime}", unit="s", better="lower", ours=seconds,
        peers={}, limit=limit, goal=GOAL_S, n=SAVES,
    )  # fmt: skip


def _saves(runtime: str, image: str, otterctl: list[str], folder: Path) -> float:
    """Median seconds from a save to the first line that the module prints afterwards."""
    name, script = SCRIPTS[runtime]
    source = folder / "source"
    source.mkdir()
    if image:
        text = f'FROM {image}\nCOPY . /app/\nWORKDIR /app\nCMD ["sh", "run.sh"]\n'
        (source / "Dockerfile").write_text(text)
    file = folder / f"{runtime}.toml"
    file.write_text(
        f'name = "saves"\n[hosts.a]\n[modules.m]\nbuild = "source"\nhost = "a"\n'
        f'runtime = "{runtime}"\n'
    )
    (source / name).write_text(script.format(n=0))
    run(otterctl, "apply", str(file))
    command = [*otterctl, "dev", "m", "--path", str(source)]
    verb = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert verb.stdout is not None
    assert verb.stderr is not None
    try:
        while "watching" not in verb.stderr.readline():
            if verb.poll() is not None:
                raise RuntimeError("otterctl dev ended")
        seconds = []
        for n in range(1, SAVES + 2):
            began = time.perf_counter()
            (source / name).write_text(script.format(n=n))
            while verb.stdout.readline() != f"life {n}\n":
                pass
            seconds.append(time.perf_counter() - began)
    finally:
        verb.send_signal(signal.SIGINT)
        verb.communicate(timeout=60)
    run(otterctl, "destroy", "--yes", "--no-fetch")
    return statistics.median(seconds[1:])


def _flood(otterctl: list[str], folder: Path) -> list[Row]:
    """A module that prints without end: `status` meanwhile, and what watching its log takes."""
    file = folder / "flood.toml"
    file.write_text(FLOOD)
    run(otterctl, "apply", str(file))
    pid = int((folder / "a" / "run" / "launcher" / "pid").read_text())
    log = folder / "a" / "lib" / "meshes" / "flood" / "loud" / "log"
    began, cpu, size = time.perf_counter(), _cpu_s(pid), log.stat().st_size
    answers = []
    while time.perf_counter() - began < FLOOD_S:
        answers.append(run(otterctl, "status"))
    took = time.perf_counter() - began
    share = (_cpu_s(pid) - cpu) / took
    rate = (log.stat().st_size - size) / took
    kept = log.stat().st_blocks * 512
    run(otterctl, "destroy", "--yes", "--no-fetch")
    note = f"the module prints {rate / 1e6:.0f} MB/s"
    return [
        Row(name="status while a module prints 100 MB/s", unit="s", better="lower",
            ours=statistics.median(answers), peers={}, limit=None, goal=STATUS_GOAL_S,
            n=len(answers), note=note),
        Row(name="its log's watch: cores", unit="1", better="lower", ours=share, peers={},
            limit=None, goal=0.1, n=1, note=note),
        Row(name="its log on disk", unit="B", better="lower", ours=float(kept), peers={},
            limit=64 << 20, goal=100e6, n=1, note=note),
    ]  # fmt: skip


def _completion(otterctl: list[str], folder: Path, bare: float) -> Row:
    """The Tab key after `otterctl logs`, on a mesh of 100 modules."""
    file = folder / "star.toml"
    file.write_text(star(TAB_MODULES))
    run(otterctl, "apply", str(file))
    words = {
        "_OTTERCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "otterctl logs m",
        "COMP_CWORD": "2",
    }
    place = {"OTTER_ROOT": str(folder / "a")}
    command = ["env", *(f"{k}={v}" for k, v in (words | place).items()), otterctl[0]]
    took = medians({"": command}, TAB_RUNS)[""]
    run(otterctl, "destroy", "--yes", "--no-fetch")
    return Row(
        name=f"Tab: names of {TAB_MODULES} modules", unit="s", better="lower", ours=took, peers={},
        limit=bare, goal=TAB_GOAL_S, n=TAB_RUNS,
    )  # fmt: skip


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


@contextlib.contextmanager
def _engine() -> Iterator[tuple[str, str]]:
    """An engine of our own with a small image; the tests know how to start one."""
    sys.path.insert(0, _TESTS)
    try:
        dockerd = importlib.import_module("helpers.dockerd")
        images = importlib.import_module("helpers.images")
    finally:
        sys.path.remove(_TESTS)
    if why := dockerd.unavailable():
        raise NotHere(why)
    with dockerd.Dockerd() as engine:
        engine.import_image("otter-bench/busybox:1", images.busybox_root())
        yield engine.url, "otter-bench/busybox:1"
