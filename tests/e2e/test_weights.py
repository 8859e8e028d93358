"""Weights that a topology names: one copy per machine, for containers and processes; the cache."""

from __future__ import annotations

import hashlib
import random

import pytest
from helpers.hub import StandInHub
from helpers.otter import Otter, wait_for

SCRIPT = """
cd $OTTER_WEIGHTS/tiny; cat config.json; stat -c "inode %i" config.json; ls
sha256sum model.safetensors
echo "offline $HF_HUB_OFFLINE"; echo x > new; exec sleep 1000
"""
TOPOLOGY = f"""
name = "weighed"
[hosts.a]
[modules.contained]
host = "a"
image = "otter-test/busybox:1"
runtime = "docker"
weights = {{ "tiny" = "tiny" }}
command = ["sh", "-c", '''{SCRIPT}''']
[modules.plain]
host = "a"
runtime = "process"
weights = {{ "tiny" = "tiny" }}
command = ["sh", "-c", '''{SCRIPT}''']
"""
HUB = """
name = "hubbed"
[hosts.a]
[modules.one]
host = "a"
runtime = "process"
weights = { "tiny" = "hub:someone/tiny" }
command = ["sh", "-c", "ls $OTTER_WEIGHTS/tiny; exec sleep 1000"]
"""


def said(otter: Otter, module: str, text: str) -> str:
    """The log of a module once it says something."""
    found: str = wait_for(
        lambda: text in (log := otter("logs", module).stdout) and log, f"{module}: no {text}"
    )
    return found


@pytest.mark.docker
@pytest.mark.netns
def test_containers_and_processes_are_shown_one_copy(docker_otter, busybox_image):
    otter = docker_otter
    tiny = otter.root / "tiny"
    tiny.mkdir()
    (tiny / "config.json").write_text('{"model_type": "tiny"}\n')
    weights = random.Random(7).randbytes(3 << 20)  # in several pieces
    (tiny / "model.safetensors").write_bytes(weights)
    otter("apply", otter.topology(TOPOLOGY))
    inodes = set()
    for module in ("contained", "plain"):
        log = said(otter, module, "ead-only file system")
        assert '{"model_type": "tiny"}' in log
        assert "offline 1" in log
        assert f"{hashlib.sha256(weights).hexdigest()}  model.safetensors" in log
        inodes.add(log.partition("inode ")[2].split()[0])
    assert len(inodes) == 1
    (item,) = (i for i in otter.json("cache", "ls") if i["kind"] == "weights")
    assert item["used_by"] == ["weighed/contained", "weighed/plain"]
    assert "is used by weighed/contained" in otter("cache", "rm", item["name"], code=1).stderr
    otter("destroy", "--yes", "--no-fetch")
    would = otter.json("cache", "rm", item["name"], "--dry-run")
    assert would["removed"] == [item["name"]]
    otter("cache", "rm", item["name"])
    assert not [i for i in otter.json("cache", "ls") if i["kind"] == "weights"]
    assert not list((otter.root / "a" / "lib" / "weights" / "folder").iterdir())


@pytest.mark.netns
def test_weights_of_the_hub_are_fetched_once_for_all_meshes(otter):
    with StandInHub() as hub:
        otter.env["HF_ENDPOINT"] = hub.endpoint
        otter.serve()
        topology = otter.topology(HUB)
        otter("apply", topology)
        assert "pytorch_model.bin" not in said(otter, "one", "model.safetensors")
        otter("destroy", "--yes", "--no-fetch")
        asked = len(hub.asked)
        otter("apply", topology)
        assert len(hub.asked) == asked
        wrong = otter("apply", topology, "--set", 'modules.one.weights.tiny="hub:x/y"', code=1)
    assert "has no x/y@main" in wrong.stderr
    otter("destroy", "--yes", "--no-fetch")
    assert "name some of it" in otter("cache", "rm", code=2).stderr
    otter("cache", "rm", "--unused")
    assert otter.json("cache", "ls") == []
