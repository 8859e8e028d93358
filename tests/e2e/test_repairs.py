"""What is done to containers from outside is repaired, told and counted; orders hold all the same.

`docker rm -f`, `docker rm`, `docker kill`, `docker stop`, and the engine's own restart.
"""

from __future__ import annotations

import json
import os
import subprocess
from urllib.parse import urlencode

import pytest
from helpers.images import busybox_root
from helpers.otter import Otter, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.netns, pytest.mark.timeout(300)]

THREE = """
name = "repairs"
[hosts.a]
[modules.web]
host = "a"
image = "otter-test/busybox:1"
command = ["sh", "-c", "echo life >> /work/lives; exec httpd -f -p 8000"]
ready = { tcp = 8000 }
[modules.other]
host = "a"
image = "otter-test/busybox:1"
[modules.process]
host = "a"
runtime = "process"
command = ["sleep", "1000"]
"""


@pytest.fixture
def mesh(docker_otter, dockerd, busybox_image):
    docker_otter("apply", docker_otter.topology(THREE))
    return docker_otter


def docker(engine, *words: str, stdin: str = "") -> None:
    """The Docker command line itself."""
    command = ["docker", "-H", engine.url, *words]
    environ = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, input=stdin, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def container(engine, otter, module: str, **query: str) -> str:
    """Id of a module's container."""
    shown = engine.request("GET", f"/containers/json?{urlencode({'all': '1', **query})}")
    label = (otter.agent_id, module)
    (found,) = [
        c["Id"] for c in shown
        if (c["Labels"].get("otter.agent"), c["Labels"].get("otter.module")) == label
    ]  # fmt: skip
    return str(found)


def events(otter) -> list[dict[str, str]]:
    lines = otter("events", "-m", "repairs", "--json").stdout.splitlines()
    return [json.loads(line) for line in lines]


def others(otter) -> dict[str, int]:
    return {n: m["pid"] for n, m in otter.modules("repairs").items() if n != "web"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["rm", "-f"], "killed by signal 9"),
        (["kill"], "killed by signal 9"),
        (["stop", "-t", "0"], "killed by signal 9"),
    ],
)
def test_repaired_told_and_counted_once(mesh, dockerd, words, reason):
    otter = mesh
    before, seen = others(otter), len(events(otter))
    docker(dockerd, *words, container(dockerd, otter, "web"))
    wait_for(lambda: otter.modules("repairs")["web"]["restarts"] == 1, "never restarted")
    otter("wait", "web", "--timeout", "30s")
    after = otter.modules("repairs")["web"]
    assert (after["restarts"], after["reason"]) == (1, "")
    told = events(otter)[seen:]
    states = [(e["state"], e["text"]) for e in told if e["subject"] == "web"]
    assert ("restarting", reason) in states
    assert (("", "was removed from outside: made anew") in states) == (words[0] == "rm")
    assert others(otter) == before
    across = otter("exec", "process", "--", "python3", "-c",
                   "import socket; socket.create_connection(('web', 8000), 5)")  # fmt: skip
    assert across.returncode == 0


def test_removed_while_it_was_stopped_it_stays_so_and_can_be_started(mesh, dockerd):
    otter = mesh
    otter("stop", "web")
    docker(dockerd, "rm", container(dockerd, otter, "web"))
    otter.kill_agent()
    otter.serve()
    otter("wait", "--all", "--state", "ready", "--state", "stopped")
    assert otter.modules("repairs")["web"]["state"] == "stopped"
    assert otter.json("status")["state"] == "ready"
    otter("start", "web")


def test_stop_keeps_the_container_and_restart_its_files(mesh, dockerd):
    otter = mesh
    before, was = others(otter), container(dockerd, otter, "web")
    otter("exec", "web", "--", "sh", "-c", "echo kept > /written")  # not in a volume of ours
    otter("stop", "web")
    assert otter.modules("repairs")["web"]["state"] == "stopped"
    otter("start", "web")
    otter("restart", "web")
    assert container(dockerd, otter, "web") == was
    assert otter("exec", "web", "--", "cat", "/written").stdout == "kept\n"
    assert otter("exec", "web", "--", "cat", "/work/lives").stdout == "life\n" * 3
    assert otter.modules("repairs")["web"]["restarts"] == 1
    assert others(otter) == before


def test_the_images_stop_signal_is_the_one_that_is_sent(docker_otter, dockerd, busybox_image):
    otter = docker_otter
    dockerfile = f"FROM {busybox_image}\nSTOPSIGNAL SIGUSR1\n"
    docker(dockerd, "build", "-t", "otter-test/usr1:1", "-", stdin=dockerfile)
    heard = "trap 'echo heard > /work/heard; exit 0' USR1; touch /work/hears"
    heard += "; while :; do sleep 0.1; done"
    otter(
        "apply",
        otter.topology(f"""
        name = "repairs"
        [hosts.a]
        [modules.web]
        host = "a"
        image = "otter-test/usr1:1"
        command = ["sh", "-c", "{heard}"]
        ready = {{ command = ["test", "-e", "/work/hears"] }}
        restart = "always"
    """),
    )
    otter("stop", "web")
    assert (otter.root / "a/lib/meshes/repairs/web/work/heard").read_text() == "heard\n"


def test_what_was_stopped_stays_so_over_the_engines_restart(own_dockerd, require):
    own_dockerd.import_image("otter-test/busybox:1", busybox_root(), 'CMD ["sleep", "3600"]')
    otter = Otter(own_dockerd.url)
    try:
        otter("apply", otter.topology(THREE))
        otter("stop", "web")
        own_dockerd.kill()
        own_dockerd.start()
        otter("wait", "other", "process", "--timeout", "60s")
        wait_for(lambda: otter.json("status")["state"] == "ready", "not ready again")
        assert otter.modules("repairs")["web"]["state"] == "stopped"
        assert "1 to start" in otter("plan", otter.root / "topology.toml").stdout
        otter("apply", otter.root / "topology.toml")
        assert otter.modules("repairs")["web"]["state"] == "ready"
        otter("destroy", "--all", "--yes", "--no-fetch")
    finally:
        otter.close()
