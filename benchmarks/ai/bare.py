"""The models of use case 1 without OTTER, in a module's own environment and budget: how they load.

A script that runs in place of a module, as text: it imports the module's files, loads its model and
warms it up, but has no `net`: a handful of names stands in its place. What follows it, `model` and
`once(what)` are for: one computing of what the module is given.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.ai.use_case import UseCase
from examples.demo import MESH

LOADED = """
import ctypes, json, os, sys, time, types
from pathlib import Path

def stand_in(name, **names):
    sys.modules[name] = made = types.ModuleType(name)
    vars(made).update(names)
    return made

def prepared(models, name, kinds=(), files=()):
    return models / name.rpartition("/")[2]

weights = stand_in("net.weights", WeightsError=ValueError, prepared=prepared)
stand_in("net", weights=weights, units=stand_in("net.units"), Mesh=object, Message=object)
name, folder, pid, *given = sys.argv[1:]
sys.path.insert(0, folder)
import module
models = Path(os.environ.get("OTTER_MODELS", ""))
threads = int(os.environ["OMP_NUM_THREADS"])
if name == "speech_to_text":
    model = module.Recogniser(prepared(models, module.MODEL))
    model.warm_up()
    from audio import load_wav
    once = lambda file: model([load_wav(Path(file))])
elif name == "image_analysis":
    _, model = module.analyst(module.MODEL, models, threads)
    model.warm_up()
    once = lambda file, question: model.answer([module.pictures.load(Path(file))], [question])
else:
    model = once = module.Voice(threads)
    model("Hello, I am ready.")
"""


def run(asked: UseCase, module: str, script: str, *given: object) -> list[float]:
    """What a script prints at last, a JSON list, that goes on where the models are loaded.

    Args:
        asked: The mesh, whose module waits meanwhile.
        module: In whose environment, namespaces and budget it runs.
        script: In Python; knows `model`, `once`, `given` and the module's `pid`.
        given: Words for it.
    """
    (pid,) = (m["pid"] for m in asked.status()["modules"] if m["name"] == module)
    python, file = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:2]
    words = (module, Path(file).parent, pid, *given)
    command = [python, "-c", LOADED + script, *words]
    said = asked.otterctl("exec", "-m", MESH, module, "--", *command)
    found: list[float] = json.loads(said.splitlines()[-1])
    return found
