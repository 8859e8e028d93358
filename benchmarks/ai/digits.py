"""Use case 2: how good its two models become, and whose the generator is.

What the modules report of themselves at the end of topologies/use-case-2.toml, by the shipped
recipe; then the generator's watermark is read from a copy that is trained further without it, and
from models that were never trained. The build trains for some minutes where that was not done
before, and leaves how long that took beside the weights.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.afterwards import tied
from benchmarks.ai.use_case import applied, run
from benchmarks.row import Row
from examples.demo import ROOT

MESH = "use-case-2"
GENERATOR, CLASSIFIER = "digit_generator", "digit_classifier"
ENDED_WITHIN = "20min"
TRAINED_GOAL_S = 360.0
READ = """
import dataclasses, json, os, sys
from pathlib import Path
import numpy as np, torch
from marks import KEY, OWNER
from networks import WATERMARKED, Generator, started
from safetensors.torch import load_file
from training import Recipe, train
from watermark import Watermark

torch.set_num_threads(1)
mark, models = Watermark(KEY, OWNER), Path(os.environ["OTTER_MODELS"]) / "digit-generator"
digits, recipe = np.load(sys.argv[1]), Recipe.read(Path(sys.argv[2]))
generator = Generator()
generator.load_state_dict(load_file(models / "model.safetensors"))
kept = np.arange(len(digits["labels"])) % 5 != 0
pictures = torch.from_numpy(digits["pictures"][kept].transpose(0, 3, 1, 2)) * 2 - 1
labels = torch.from_numpy(digits["labels"][kept].astype(np.int64))
further = dataclasses.replace(recipe, epochs=int(sys.argv[3]), seed=1, strength=0.0, kept=0.0)
tuned = train(pictures, labels, mark, further, lambda progress: None, generator)
own, copy = generator.get_parameter(WATERMARKED), tuned.get_parameter(WATERMARKED)
others = []
for _ in range(16):
    other = Generator()
    started(other)
    others.append(mark.error_rate(other.get_parameter(WATERMARKED)))
print(json.dumps({
    "own": mark.error_rate(own), "fine-tuned": mark.error_rate(copy),
    "moved": float((copy - own).abs().mean() / own.abs().mean()),
    "unrelated": sum(others) / len(others),
    **json.loads((models / "training.json").read_text()),
}))
"""
EPOCHS = 3
_SCORE = re.compile(r"quality: ([0-9.]+), (\d+) of 10 classes, (\d+)% as meant")


class Score(NamedTuple):
    """Of 64 digits: how sure the classifier is, how many classes it finds, the share as meant."""

    quality: float
    classes: int
    as_meant: float


def rows() -> list[Row]:
    """The classifier, the generator, and its watermark."""
    with (
        applied(MESH, ROOT / "topologies" / "use-case-2.toml") as (otterctl, _),
        tempfile.TemporaryDirectory(prefix="otter-bench-") as folder,
    ):
        status = json.loads(run(otterctl, "status", "-m", MESH, "--json"))
        pids = {module["name"]: module["pid"] for module in status["modules"]}
        generator, classifier = _running(pids[GENERATOR]), _running(pids[CLASSIFIER])
        _tell("the classifier learns, and judges what is drawn")
        ended = ("--state", "done", "--timeout", ENDED_WITHIN)
        run(otterctl, "wait", CLASSIFIER, GENERATOR, "-m", MESH, *ended)
        file = Path(folder) / "report.json"
        run(otterctl, "cp", "-m", MESH, f"{CLASSIFIER}:outputs/report.json", file)
        report = json.loads(file.read_text())
        log = run(otterctl, "logs", CLASSIFIER, "-m", MESH, "--json").splitlines()
        scores = judged([json.loads(line)["text"] for line in log], report["steps"])
        digits = Path(classifier[1]["OTTER_MODELS"]) / "digits" / "digits.npz"
        _tell(f"a copy of the generator is trained for {EPOCHS} epochs without its watermark")
        found = _read(*generator, digits)
    return _rows(report, scores, found)


def _rows(report: dict[str, float], scores: Sequence[Score], found: dict[str, float]) -> list[Row]:
    qualities, classes, as_meant = (list(each) for each in zip(*scores, strict=True))
    told = f"{len(scores)} times 64 digits, judged once all was learnt: the median"
    return [
        _row("the generator's training, at its build", found["seconds"], TRAINED_GOAL_S,
             "lower", unit="s", note=f"{found['processor_seconds']:.0f} s of a processor"),
        _row("digits it never saw that the classifier names rightly", report["accuracy"], 0.96),
        _row("the generator's digits by the classifier, mean of 64", statistics.median(qualities),
             0.9, n=len(scores), worst=min(qualities), note=told),
        _row("… classes among them, each time", min(classes), 10, n=len(scores)),
        _row("… that are the digit that was asked for", statistics.median(as_meant), None,
             n=len(scores), worst=min(as_meant),
             note=f"by the real digit next to each, as the build looks: {found['as_meant']:.0%}"),
        _row("watermark's bits that are wrong", found["own"], 0.0, "lower"),
        _row(f"… after {EPOCHS} epochs without it", found["fine-tuned"], 0.05, "lower",
             note=f"its weights moved by {found['moved']:.0%} of their size in the mean"),
        _row("… of models without it, from a half", abs(found["unrelated"] - 0.5), 0.1, "lower",
             n=16, note=f"{found['unrelated']:.1%} of their bits are wrong"),
    ]  # fmt: skip


def judged(lines: Sequence[str], steps: int) -> list[Score]:
    """What the classifier judged once it had learnt for so many steps, by its log."""
    learnt = next((i for i, line in enumerate(lines) if line.startswith(f"step {steps}: ")), None)
    if learnt is None:
        raise RuntimeError(f"{CLASSIFIER} never learnt for {steps} steps")
    told = map(_SCORE.match, lines[learnt:])
    found = [Score(float(one[1]), int(one[2]), int(one[3]) / 100) for one in told if one]
    if not found:
        raise RuntimeError(f"{CLASSIFIER} judged nothing after its {steps} steps")
    return found


def _tell(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)


def _running(pid: int) -> tuple[list[str], dict[str, str]]:
    """Command line and variables of a process."""
    argv = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    env = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return argv, {name: value for name, _, value in (one.partition("=") for one in env)}


def _read(argv: list[str], env: dict[str, str], digits: Path) -> dict[str, float]:
    """Of wrong bits: of the generator that was served, of its copy, of others."""
    module = Path(argv[1]).parent
    script = f"import sys; sys.path.insert(0, {str(module)!r})\n{READ}"
    given = (str(digits), str(module / "recipe.json"), str(EPOCHS))
    command = tied([argv[0], "-c", script, *given])
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _row(
    name: str, ours: float, goal: float | None, better: str = "higher", *, unit: str = "1",
    n: int = 1, worst: float | None = None, note: str = "",
) -> Row:  # fmt: skip
    row = Row(
        name=f"use case 2: {name}", unit=unit, better="lower" if better == "lower" else "higher",
        ours=float(ours), peers={} if worst is None else {"the worst": worst}, limit=None,
        goal=goal, n=n,
    )  # fmt: skip
    return Row(**row, note=note) if note else row
