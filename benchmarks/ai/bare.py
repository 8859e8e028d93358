"""The models of use case 1 without OTTER, in a module's own environment and budget: how they load.

A script that runs in place of a module, as text: it imports the module's files, and loads its model
and warms it up in a thread that does nothing else, as modules do; but it has no `net`: a handful of
names stands in its place. What follows it, `model` and `once(what)` are for: one computing of what
the module is given.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.afterwards import tied
from benchmarks.ai.use_case import UseCase
from examples.demo import MESH, ROOT

LOADED = """
import ctypes, json, os, sys, time, types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

def stand_in(name, **names):
    sys.modules[name] = made = types.ModuleType(name)
    vars(made).update(names)
    return made

def prepared(models, name, kinds=(), files=()):
    return models / name.rpartition("/")[2]

def load():
    if name == "speech_to_text":
        model = module.Recogniser(prepared(models, module.MODEL))
        model.warm_up()
        from audio import load_wav
        return model, lambda file: model([load_wav(Path(file))])
    if name == "image_analysis":
        _, model = module.analyst(module.MODEL, models, threads)
        model.warm_up()
        picture = module.pictures.load
        return model, lambda file, question: model.answer([picture(Path(file))], [question])
    model = module.Voice(threads)
    model("Hello, I am ready.")
    return model, model

weights = stand_in("net.weights", WeightsError=ValueError, prepared=prepared)
stand_in("net", weights=weights, units=stand_in("net.units"), Mesh=object, Message=object)
name, folder, pid, *given = sys.argv[1:]
sys.path.insert(0, folder)
import module
models = Path(os.environ.get("OTTER_MODELS", ""))
threads = int(os.environ["OMP_NUM_THREADS"])
working = ThreadPoolExecutor(1)
model, once = working.submit(load).result()
"""
COMPUTES = """
for line in sys.stdin:
    began = time.perf_counter()
    working.submit(once, *json.loads(line)).result()
    print("took", time.perf_counter() - began, flush=True)
"""
TOOK = "took "


def run(asked: UseCase, module: str, script: str, *given: object) -> list[float]:
    """What a script prints at last, a JSON list, that goes on where the models are loaded.

    Args:
        asked: The mesh, whose module waits meanwhile.
        module: In whose environment, namespaces and budget it runs.
        script: In Python; knows `model`, `once`, `given` and the module's `pid`.
        given: Words for it.
    """
    said = asked.otterctl(*_within(_pids(asked)[module], module, script, *given))
    found: list[float] = json.loads(said.splitlines()[-1])
    return found


@contextmanager
def beside(asked: UseCase, modules: Sequence[str]) -> Iterator[Callable[..., float]]:
    """The models of several modules once more, each beside its own; ended afterwards.

    They begin to load, all at once, and whoever asks goes on meanwhile.

    Args:
        asked: The mesh.
        modules: Whose models.

    Yields:
        Given for each module what its model computes with: the seconds that they take, one after
        the other. The first time it waits until all are loaded.
    """
    pids = _pids(asked)
    with ExitStack() as stack:
        there = {
            module: stack.enter_context(_waiting(asked, _within(pids[module], module, COMPUTES)))
            for module in modules
        }

        def compute(given: dict[str, Sequence[object]]) -> float:
            return sum(_took(process, given[module]) for module, process in there.items())

        yield compute


def _pids(asked: UseCase) -> dict[str, int]:
    """Of each module's first process."""
    return {module["name"]: module["pid"] for module in asked.status()["modules"]}


def _within(pid: int, module: str, script: str, *given: object) -> list[Any]:
    """The words after `otterctl` that run a script where the module's model is loaded."""
    python, file = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:2]
    words = (module, Path(file).parent, pid, *given)
    return ["exec", "-m", MESH, module, "--", python, "-c", LOADED + script, *words]


@contextmanager
def _waiting(asked: UseCase, words: Sequence[object]) -> Iterator[subprocess.Popen[str]]:
    """A command that ends with its input."""
    command = tied([*asked.command, *map(str, words)])
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        yield process  # and its end is waited for, once its input is closed


def _took(process: subprocess.Popen[str], given: Sequence[object]) -> float:
    """Seconds that a model takes to compute with what it is given."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([str(one) for one in given]) + "\n")
    process.stdin.flush()
    for line in process.stdout:
        if line.startswith(TOOK):
            return float(line.removeprefix(TOOK))
    raise RuntimeError("a model without OTTER ended by itself")
