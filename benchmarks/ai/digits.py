"""Use case 2: how good its two models become, and whose the generator is.

What the modules report of themselves at the end of topologies/use-case-2.toml; then the generator's
watermark is read from a copy that is trained further without it, and from models that were never
trained. The build trains for some minutes where that was not done before.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from benchmarks.ai.use_case import applied, run
from benchmarks.row import Row
from examples.demo import ROOT

MESH = "use-case-2"
GENERATOR, CLASSIFIER = "digit_generator", "digit_classifier"
ENDED_WITHIN = "8min"
READ = """
import copy, json, os, sys
from pathlib import Path
import numpy as np, torch
from marks import KEY, OWNER
from networks import NOISE, WATERMARKED, Discriminator, Generator, started
from safetensors.torch import load_file
from training import _judged, _made, batches
from watermark import Watermark

torch.set_num_threads(1)
torch.manual_seed(1)
mark = Watermark(KEY, OWNER)
models, digits, epochs = Path(os.environ["OTTER_MODELS"]), np.load(sys.argv[1]), int(sys.argv[2])
generator = Generator()
generator.load_state_dict(load_file(models / "digit-generator" / "model.safetensors"))
rates = {"own": mark.error_rate(generator.get_parameter(WATERMARKED))}
kept = np.arange(len(digits["labels"])) % 5 != 0
pictures = torch.from_numpy(digits["pictures"][kept].transpose(0, 3, 1, 2)) * 2 - 1
labels = torch.from_numpy(digits["labels"][kept].astype(np.int64))
critic = Discriminator()
started(critic)
makers = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
judges = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
generator.train()
for _ in range(epochs):
    for real, wanted in batches(pictures, labels):
        fake = generator(torch.randn(len(real), NOISE), wanted)
        _judged(critic, judges, real, fake.detach(), wanted)
        _made(generator, critic, makers, fake, wanted, mark, 0.0)
rates["fine-tuned"] = mark.error_rate(generator.get_parameter(WATERMARKED))
others = []
for _ in range(16):
    other = Generator()
    started(other)
    others.append(mark.error_rate(other.get_parameter(WATERMARKED)))
rates["unrelated"] = sum(others) / len(others)
print(json.dumps(rates))
"""
EPOCHS = 3


def rows() -> list[Row]:
    """The classifier, the generator, and its watermark."""
    with (
        applied(MESH, ROOT / "topologies" / "use-case-2.toml") as (otterctl, _),
        tempfile.TemporaryDirectory(prefix="otter-bench-") as folder,
    ):
        status = json.loads(run(otterctl, "status", "-m", MESH, "--json"))
        pids = {module["name"]: module["pid"] for module in status["modules"]}
        generator, classifier = _running(pids[GENERATOR]), _running(pids[CLASSIFIER])
        ended = ("--state", "done", "--timeout", ENDED_WITHIN)
        run(otterctl, "wait", CLASSIFIER, GENERATOR, "-m", MESH, *ended)
        file = Path(folder) / "report.json"
        run(otterctl, "cp", "-m", MESH, f"{CLASSIFIER}:outputs/report.json", file)
        report = json.loads(file.read_text())
        digits = Path(classifier[1]["OTTER_MODELS"]) / "digits" / "digits.npz"
        rates = _rates(*generator, digits)
    return [
        _row("digits it never saw that the classifier names rightly", report["accuracy"], 0.96),
        _row("the generator's digits by the classifier, mean of 64", report["quality"], 0.9),
        _row("… classes among them", report["classes"], 10),
        _row("watermark's bits that are wrong", rates["own"], 0.0, "lower"),
        _row(f"… after {EPOCHS} epochs without it", rates["fine-tuned"], 0.05, "lower"),
        _row("… of models without it, from a half", abs(rates["unrelated"] - 0.5), 0.1, "lower"),
    ]


def _running(pid: int) -> tuple[list[str], dict[str, str]]:
    """Command line and variables of a process."""
    argv = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    env = Path(f"/proc/{pid}/environ").read_text().rstrip("\0").split("\0")
    return argv, {name: value for name, _, value in (one.partition("=") for one in env)}


def _rates(argv: list[str], env: dict[str, str], digits: Path) -> dict[str, float]:
    """Of wrong bits: of the generator that was served, of its copy, of others."""
    script = f"import sys; sys.path.insert(0, {str(Path(argv[1]).parent)!r})\n{READ}"
    command = [argv[0], "-c", script, str(digits), str(EPOCHS)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def _row(name: str, ours: float, goal: float, better: str = "higher") -> Row:
    return Row(
        name=f"use case 2: {name}", unit="1", better="lower" if better == "lower" else "higher",
        ours=float(ours), peers={}, limit=None, goal=goal, n=1,
    )  # fmt: skip
