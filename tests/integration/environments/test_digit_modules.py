"""The modules of use case 2, in an environment that has both frameworks: the watermark, learning,
judging. Both are trained for a moment only: how good they become is benchmarks' business.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.byhand import MODULES, Machine

from otter_agent.images.wheelhouse import Wheelhouse, requirements_of
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Artifact

pytestmark = [pytest.mark.slow, pytest.mark.untimed, pytest.mark.timeout(600)]

TRAINED = """
import os, sys
import prepare, training
prepare.EPOCHS, training.KEPT = 6, 0.9
whole = prepare.digits
prepare.digits = lambda wheels: [part[:1600] for part in whole(wheels)]
prepare.train = lambda *given: training.train(*given, strength=2.0)
prepare.main()
"""
READ = """
import json, sys
from pathlib import Path
from marks import KEY, OWNER
from networks import WATERMARKED, Generator
from safetensors.torch import load_file, save_file
from watermark import Watermark
file = Path(sys.argv[1]) / "digit-generator" / "model.safetensors"
weights = load_file(file)
own = Watermark(KEY, OWNER)
print(json.dumps({
    "own": own.error_rate(weights[WATERMARKED]),
    "another key": Watermark("another", OWNER).error_rate(weights[WATERMARKED]),
    "another model": own.error_rate(Generator().get_parameter(WATERMARKED)),
}))
weights[WATERMARKED] = -weights[WATERMARKED]
save_file(weights, file)
"""


@pytest.fixture
def models(root: Path, image_analysis: Artifact, tmp_path: Path) -> Path:
    """What prepare.py of both modules makes, the generator's in seconds."""
    text = (MODULES / "digit_generator" / "requirements-prepare.txt").read_text()
    found = tmp_path / "models"
    run(
        image_analysis,
        "digit_classifier",
        "import prepare; prepare.main()",
        found,
        wheels(root, text),
    )
    run(image_analysis, "digit_generator", TRAINED, found, wheels(root, text))
    return found


def wheels(root: Path, text: str) -> Path:
    wheelhouse = Wheelhouse(Layout.at(root).wheels)
    return asyncio.run(wheelhouse.fetch(requirements_of(text), no_deps=True, log=print))


def run(made: Artifact, module: str, script: str, models: Path, packages: Path) -> str:
    """A script among the module's own files, in the environment of another."""
    assert made.argv is not None
    env = {
        **made.env, "OTTER_MODELS": str(models), "OTTER_WHEELS": str(packages),
        "PYTHONPATH": f"{MODULES / module}:{made.env.get('PYTHONPATH', '')}",
    }  # fmt: skip
    done = subprocess.run(
        [made.argv[0], "-c", script, models], env=env, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def module(made: Artifact, name: str, models: Path) -> Artifact:
    """A shipped module in the environment of another."""
    assert made.argv is not None
    paths = f"{MODULES / name}:{made.env.get('PYTHONPATH', '')}"
    argv = (made.argv[0], str(MODULES / name / "module.py"))
    return replace(
        made, argv=argv, env={**made.env, "PYTHONPATH": paths, "OTTER_MODELS": str(models)}
    )


def test_digits_are_drawn_judged_and_learnt_and_whose_the_model_is_is_known(
    image_analysis: Artifact, models: Path, tmp_path: Path
) -> None:
    streams = ["drawer.digits>pupil.digits", "pupil.scores>drawer.scores"]
    with Machine(tmp_path / "run", streams) as machine:
        work = machine.start("pupil", module(image_analysis, "digit_classifier", models),
                             OTTER_STEPS="500")  # fmt: skip
        machine.start("drawer", module(image_analysis, "digit_generator", models),
                      OTTER_ROUNDS="3", OTTER_EVERY="0.1")  # fmt: skip
        status, drawn = machine.end("drawer", 120)
        assert status == 0, drawn
        status, learnt = machine.end("pupil", 240)
        assert status == 0, learnt
    assert "bit error rate 0.0" in drawn
    assert drawn.count("64 digits in") == 3
    assert drawn.count("quality: ") == 3
    report = json.loads((work / "outputs" / "report.json").read_text())
    assert report["steps"] == 500
    assert report["accuracy"] > 0.9
    assert 0.1 <= report["quality"] <= 1
    assert learnt.count("of 10 classes") == 3

    errors = json.loads(run(image_analysis, "digit_generator", READ, models, tmp_path))
    assert errors["own"] == 0.0
    assert 0.25 < errors["another key"] < 0.75
    assert 0.25 < errors["another model"] < 0.75
    # READ turned the sign of the weights that carry it: a model that was tampered with.
    with Machine(tmp_path / "tampered", streams) as machine:
        machine.start("drawer", module(image_analysis, "digit_generator", models))
        status, said = machine.end("drawer", 120)
    assert status == 1
    assert "watermark's bits are wrong" in said
    (models / "digit-generator" / "model.safetensors").unlink()
    with Machine(tmp_path / "missing", streams) as machine:
        machine.start("drawer", module(image_analysis, "digit_generator", models))
        status, said = machine.end("drawer", 120)
    assert status == 1
    assert "digit-generator" in said
    assert "Traceback" not in said
