"""Use case 2 by its topology, in containers: what is drawn, judged and learnt there is real.

The generator is trained by the tests' short recipe (tests/helpers/digits.py), so the bar for what
it draws is low; the watermark's and the classifier's are those of the use case, or near.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.digits import SHORT

ROOT = Path(__file__).parents[2]
MESH = "use-case-2"
ROUNDS, STEPS = 4, 600
pytestmark = [
    pytest.mark.docker, pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(900),
]  # fmt: skip


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    """The shipped one, beside modules of which one has another recipe."""
    for name in ("digit_generator", "digit_classifier"):
        shutil.copytree(ROOT / "modules" / name, tmp_path / "modules" / name)
    recipe = tmp_path / "modules" / "digit_generator" / "recipe.json"
    assert json.loads(recipe.read_text()).keys() == SHORT.keys()
    recipe.write_text(json.dumps(SHORT))
    (tmp_path / "topologies").mkdir()
    return Path(shutil.copy(ROOT / "topologies" / f"{MESH}.toml", tmp_path / "topologies"))


def test_use_case_2_in_containers(docker_otter, python_root, topology):
    otter = docker_otter
    made = otter.popen(
        "apply", topology,
        "--set", "defaults.module.runtime=docker",
        "--set", f"modules.digit_generator.env.OTTER_ROUNDS={ROUNDS}",
        "--set", "modules.digit_generator.env.OTTER_EVERY=1",
        "--set", f"modules.digit_classifier.env.OTTER_STEPS={STEPS}",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, said = made.communicate(timeout=800)
    assert made.returncode == 0, f"{said}\n{otter.log()}"
    for module in ("digit_generator", "digit_classifier"):
        status = otter.wait_state(MESH, module, "done", "failed")
        assert status["state"] == "done", otter("logs").stdout
        assert status["runtime"] == "docker"
    folder = Path(otter.json("destroy", "--yes")["folder"])
    drawn = (folder / "logs" / "digit_generator.log").read_text()
    assert "watermark of 'OTTER, use case 2': bit error rate 0.0" in drawn
    assert drawn.count("64 digits in") == drawn.count("quality: ") == ROUNDS
    (file,) = folder.glob("outputs/digit_classifier/**/report.json")
    report = json.loads(file.read_text())
    assert report["steps"] == STEPS
    assert report["accuracy"] > 0.9
    assert report["quality"] > 0.3  # of ten that all look alike it is 0.1; of the whole recipe 0.9
    assert report["classes"] > 2
