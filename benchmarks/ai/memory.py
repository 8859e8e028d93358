"""Use case 1: what a module that waits takes beyond its framework and its model.

Beside each module a second process runs in the same environment, which imports the same files,
loads the same model and warms it up, but has no `net`: a handful of names stands in its place.
Both are looked at at the same moment, each with its part of what they share (PSS). Loading leaves
much that is free; `net` gives it back, so the other is told to do so, too, and looked at again.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from benchmarks.ai.use_case import MODULES, UseCase, use_case
from benchmarks.row import Row
from examples.demo import MESH

GOAL_B = 30e6
TIMES = 3
BARE = """
import ctypes, json, os, sys, types
from pathlib import Path

def stand_in(name, **names):
    sys.modules[name] = made = types.ModuleType(name)
    vars(made).update(names)
    return made

def prepared(models, name, kinds=(), files=()):
    return models / name.rpartition("/")[2]

weights = stand_in("net.weights", WeightsError=ValueError, prepared=prepared)
stand_in("net", weights=weights, units=stand_in("net.units"), Mesh=object, Message=object)
name, pid, folder = sys.argv[1:]
sys.path.insert(0, folder)
import module
models = Path(os.environ.get("OTTER_MODELS", ""))
threads = int(os.environ["OMP_NUM_THREADS"])
if name == "speech_to_text":
    model = module.Recogniser(prepared(models, module.MODEL))
    model.warm_up()
elif name == "image_analysis":
    _, model = module.analyst(module.MODEL, models, threads)
    model.warm_up()
else:
    model = module.Voice(threads)
    model("Hello, I am ready.")

def taken(process):
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])

before = taken("self")
ctypes.CDLL(None).malloc_trim(0)
print(json.dumps([taken(pid), taken("self"), before]))
"""


def rows() -> list[Row]:
    """A row for each module."""
    with use_case() as asked:
        return [_row(asked, module) for module in MODULES]


def _row(asked: UseCase, module: str) -> Row:
    (pid,) = (m["pid"] for m in asked.status()["modules"] if m["name"] == module)
    python, script = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:2]
    command = [python, "-c", BARE, module, pid, Path(script).parent]
    taken = [
        json.loads(asked.otterctl("exec", "-m", MESH, module, "--", *command).splitlines()[-1])
        for _ in range(TIMES)
    ]
    ours, bare, before = (statistics.median(values) for values in zip(*taken, strict=True))
    return Row(
        name=f"{module} at rest, beyond its framework and model", unit="B", better="lower",
        ours=statistics.median(one - other for one, other, _ in taken), peers={}, limit=0.0,
        goal=GOAL_B, n=TIMES,
        note=f"{ours / 1e6:.0f} MB; without OTTER {bare / 1e6:.0f}, and {before / 1e6:.0f} before"
        " that gave back what loading left",
    )  # fmt: skip
