"""The agent as one container, for a user of a machine's Docker who isn't root there."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml
from helpers import labs
from helpers.dockerd import unavailable
from helpers.images import busybox_root
from helpers.lab_site import lab_of
from helpers.labs import inside, ssh
from helpers.otter import wait_for

from otter_ctl.machine import container
from otter_ctl.machine.steps import data

from .conftest import Controller
from .test_life import other_build

pytestmark = [
    pytest.mark.netns, pytest.mark.docker, pytest.mark.timeout(600),
]  # fmt: skip
BASE = "python:3.11-slim-bookworm"
MESH = """
name = "boxes"
[hosts.phone]
machine = "lab1"
cpu = 0.5
[hosts.edge]
machine = "lab1"
[[links]]
between = ["phone", "edge"]
delay = "10ms"
[modules.server]
host = "edge"
image = "box:1"
command = ["httpd", "-f", "-p", "8000"]
ready = { tcp = 8000 }
[modules.client]
host = "phone"
image = "box:1"
command = ["sleep", "1000"]
[modules.built]
host = "edge"
build = "built"
command = ["sleep", "1000"]
"""


@pytest.fixture
def box(require, root_tar):
    """A machine with an engine, and bob, who may use that and nothing more."""
    for why in (labs.unavailable(), unavailable()):
        require("docker", not why, why)
    with lab_of(1, docker=True, bare=True) as lab:
        take_in(lab, BASE, root_tar.read_bytes())
        take_in(lab, "box:1", busybox_root())
        inside(lab, "lab1", "useradd", "-m", "-s", "/bin/sh", "-p", "*", "-G", "docker", "bob")
        public = (lab.folder / "id_ed25519.pub").read_text()
        script = f"mkdir ~bob/.ssh && echo '{public}' > ~bob/.ssh/authorized_keys"
        inside(lab, "lab1", "bash", "-c", f"{script} && chown -R bob ~bob/.ssh")
        yield lab


def take_in(lab, tag, tar):
    argv = ["nsenter", "-t", str(lab.pid_of("lab1")), "-m", "-n", "-p", "-C"]
    subprocess.run([*argv, "docker", "import", "-", tag], input=tar, check=True, stdout=-3)


def test_without_root_a_machine_becomes_one_by_docker_alone(box, tmp_path):
    otterctl = Controller(box, tmp_path)
    config = tmp_path / "config"
    config.write_text(otterctl.config.read_text().replace("  User root\n", ""))
    otterctl.config = config
    before = everything(box)
    otterctl.add("bob@lab1", "--via", "docker")
    checked = otterctl("machine", "check", "lab1")
    assert "as a container" in checked
    assert ssh(box, "lab1", "stat -c '%U %G %a' /run/otter/agent.sock") == "root docker 660"

    file = tmp_path / "boxes.toml"
    file.write_text(MESH)
    (tmp_path / "built").mkdir()
    (tmp_path / "built/Dockerfile").write_text("FROM box:1\nENV WORD=built\n")
    mine = {"OTTER_ROOT": str(tmp_path / "c"), "OTTER_RUNS": str(tmp_path / "runs")}
    otterctl("apply", file, **mine)
    pids = modules(otterctl, mine)
    said = otterctl("exec", "client", "--", "wget", "-qO-", "http://server:8000/etc/passwd", **mine)
    assert "root:" in said

    by_the_engine_alone(box, tmp_path, mine)
    otterctl.packages = other_build(tmp_path / "other")
    assert "otterctl machine upgrade lab1" in otterctl("machine", "check", "lab1", code=1)
    otterctl("machine", "upgrade", "lab1", "--yes")
    otterctl("machine", "check", "lab1")
    assert "already" in otterctl("machine", "upgrade", "lab1", "--yes")
    wait_for(lambda: modules(otterctl, mine) == pids, "the same containers, ready")
    said = otterctl("exec", "client", "--", "ping", "-c", "3", "-i", "0.2", "server", **mine)
    assert " 0% packet loss" in said

    box.off("lab1")
    box.on("lab1")
    wait_for(lambda: "lab1 is ready" in otterctl("machine", "check", "lab1", code=None), "back")

    assert "meshes run there: boxes" in otterctl("machine", "rm", "lab1", "--yes", code=1)
    assert "otter/module:" in everything(box)
    said = otterctl("machine", "rm", "lab1", "--yes", "--force")
    assert "all they have: boxes, and remove the images that OTTER built there" in said
    assert everything(box) == before
    as_the_compose_file_has_it(otterctl, box)
    assert everything(box) == before


def by_the_engine_alone(lab, folder, mine):
    """As from a computer that reaches nothing of it but its engine: by `docker exec`."""
    otterctl = Controller(lab, folder / "desk")
    otterctl.site.parent.mkdir()
    otterctl.site.write_text('[machines.lab1]\ndocker = "otter-agent"\n')
    engine = {**mine, "DOCKER_HOST": f"unix:///proc/{lab.pid_of('lab1')}/root/run/docker.sock"}
    assert "nothing to change" in otterctl("apply", folder / "boxes.toml", **engine)
    there = ("client", "--", "echo", "there")  # of root, as who asks is in there: the mesh is bob's
    assert "there" in otterctl("exec", "--force", *there, **engine)
    [line] = json.loads(otterctl("machine", "ls", "--json", **engine))
    assert (line["name"], line["reachable"]) == ("lab1", True)
    otterctl.site.write_text('[machines.lab1]\ndocker = "no-agent"\n')
    [line] = json.loads(otterctl("machine", "ls", "--json", **engine))
    assert "No such container: no-agent" in line["why"]


def as_the_compose_file_has_it(otterctl, lab):
    """Where /run isn't shared with other mount namespaces, as in Docker Desktop's machine."""
    otterctl.add("bob@lab1", "--via", "docker")  # so there is an image
    ssh(lab, "lab1", "docker rm -f otter-agent; rm -f /run/otter/agent.*")
    ssh(lab, "lab1", "mount --make-private /run")
    image = ssh(lab, "lab1", "docker image ls --format '{{.Repository}}:{{.Tag}}' otter-agent")
    [service] = yaml.safe_load(data("compose.yaml"))["services"].values()
    options = "--name otter-agent --pid host --network host --uts host --cgroupns host --user 0:0"
    options += "".join(f" --volume '{volume}'" for volume in service["volumes"])

    def start(mounts):
        own = options.replace("${OTTER_MOUNTS:-rshared}", mounts)
        for rights in ("--privileged", container._LESS):  # the lab may not have all itself
            ssh(lab, "lab1", "docker rm -f otter-agent 2>&1", code=None)
            run = f"docker run -d {rights} {own} {image} --name local 2>&1"
            said = ssh(lab, "lab1", run, code=None)
            if "apply caps" not in said:
                break
        return said

    assert "not a shared" in start("rshared")
    assert "Error" not in start("rprivate")
    ask = "curl -s --unix-socket /run/otter/agent.sock http://agent/v1/info"
    wait_for(lambda: '"machine":"local"' in ssh(lab, "lab1", ask, code=None), "the agent")
    otterctl("machine", "rm", "lab1", "--yes")


def modules(otterctl, mine):
    """Name -> pid, of those that are ready."""
    status = json.loads(otterctl("status", "--json", **mine))
    return {m["name"]: m["pid"] for m in status["modules"] if m["state"] == "ready"}


def everything(lab):
    """Files, images, containers and namespaces that OTTER might leave."""
    looks = (
        "find /opt /usr/local /etc /var/lib /run /tmp /home -xdev -iname '*otter*' 2>&- | sort;"
        " docker ps -aq; docker image ls --format '{{.Repository}}:{{.Tag}}' | sort;"
        " ls /run/netns 2>&-; ps -e -o args= | grep [o]tter.agent"
    )
    return ssh(lab, "lab1", looks, code=None)
