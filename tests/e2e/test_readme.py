"""Every command of the README, run as it stands there; and the demo that it promises."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.otter import BIN

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(600)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shell(otter, text: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**otter.env, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=cwd, env=env, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{otter.log()}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def checkout(tmp_path):
    """A copy of what git has, with our virtual environment in place of a new one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / ".venv" / ".otter-setup").touch()  # newer than the copied pyproject.toml
    return tmp_path


def test_the_first_topology(shared_otter, checkout):
    demo, first, pair, lab = blocks("sh")
    assert first.startswith("make setup\n")
    done = shell(shared_otter, first, checkout)
    assert "modules ready" in done.stdout
    (topology,) = blocks("toml")
    assert len([line for line in topology.splitlines() if line.strip()]) <= 25
    (checkout / "pair.toml").write_text(topology)
    done = shell(shared_otter, pair, checkout)
    assert " 0% packet loss" in done.stdout
    assert {line.split("#")[0].strip() for line in demo.splitlines()} == {"make demo", "make test"}
    assert "otterctl lab up 3" in lab, "tests/integration/lab runs these verbs"


def test_the_demo_hears_the_question(shared_otter, checkout):
    done = shell(shared_otter, "make demo", checkout)
    assert re.search(r"^heard: .*what animal is it", done.stdout, re.MULTILINE | re.IGNORECASE)
    assert re.search(r"asr: host phone, .* runtime process", done.stdout)
    assert re.search(r"printer: host edge, .* runtime process", done.stdout)
    assert re.search(r"time on the link phone-edge, by tcp: [0-9.]+ ms", done.stdout)
    (folder,) = re.findall(r"run folder: (.*)", done.stdout)
    assert "heard: " in (Path(folder) / "logs" / "asr.log").read_text()
    assert shared_otter.json("ls") == []


@pytest.mark.parametrize(("transport", "way"), [("udp", "by udp"), ("shm", "in shared memory")])
def test_the_demo_takes_another_wav_and_another_transport(
    shared_otter, checkout, tmp_path, transport, way
):
    wav = shutil.copy(ROOT / "examples" / "data" / "question.wav", tmp_path / "mine.wav")
    done = shell(shared_otter, f"make demo ARGS='--wav {wav} --transport {transport}'", checkout)
    assert "heard: " in done.stdout
    assert re.search(rf"time .*{way}: [0-9.]+ ms", done.stdout)


@pytest.mark.parametrize("name", ["hello", "exchange", "speech-to-text"])
def test_topologies_run_to_their_end(shared_otter, name):
    shared_otter("apply", ROOT / "topologies" / f"{name.replace('-', '_')}.toml")
    modules = shared_otter.json("status")["modules"]
    logs = ""
    for module in modules:
        shared_otter.wait_state(name, module["name"], "done")
    logs = shared_otter("logs").stdout
    expected = {
        "hello": "Hello world from the container",
        "exchange": "all exchanges with east, west were right",
        "speech-to-text": "heard: What animal is it?",
    }
    assert expected[name] in logs
    folder = Path(shared_otter.json("destroy", "--yes")["folder"])
    assert expected[name] in "".join(p.read_text() for p in (folder / "logs").glob("*.log"))


def test_every_topology_plans(shared_otter):
    for path in sorted((ROOT / "topologies").glob("*.toml")):
        if "machine =" in path.read_text():  # planned with these machines only
            assert "can't be reached by SSH" in shared_otter("plan", path, code=1).stderr
        else:
            assert shared_otter.json("plan", path)["changes"]
