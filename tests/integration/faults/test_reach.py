"""Machines that can't be reached, or not as they should: told in a line, and nothing is begun."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.lab_site import NAMES
from helpers.labs import inside
from helpers.otter import wait_for

pytestmark = pytest.mark.netns
ROOT = Path(__file__).parents[3]
NOWHERE = {name: [] for name in NAMES}


def test_a_host_key_that_is_another_machines(trio, site):
    known = site.folder / "known_hosts"
    lines = (trio.folder / "known_hosts").read_text().splitlines()
    keys = [line.split(" ", 1) for line in lines]
    keys[1][1] = keys[0][1]
    known.write_text("\n".join(" ".join(words) for words in keys) + "\n")
    text = site.config.read_text().replace(str(trio.folder / "known_hosts"), str(known))
    site.config.write_text(text)
    said = site("apply", site.topology(), code=1)
    assert "lab2: can't be reached by SSH: its host key has changed (it shows ssh-ed25519" in said
    assert f"ssh-keygen -R 'lab2' -f {known}, then `ssh -F" in said
    assert site.meshes() == NOWHERE


def test_a_key_that_is_not_accepted(trio, site):
    key = site.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    text = site.config.read_text().replace(str(trio.folder / "id_ed25519"), str(key))
    site.config.write_text(text)
    said = site("apply", site.topology(), code=1)
    for name in NAMES:
        assert f"{name}: can't be reached by SSH: SSH refuses the login: none of your keys" in said
    assert "brings your key there" in said


def test_a_machine_whose_sshd_is_down(trio, site):
    trio.service("lab2", "ssh", "stop")
    said = site("apply", site.topology(), code=1)
    assert "lab2: can't be reached by SSH: connection refused" in said
    assert site.meshes() == NOWHERE
    trio.service("lab2", "ssh", "start")
    site("apply", site.topology())
    trio.service("lab2", "ssh", "stop")
    status = site.json("status")
    assert status["state"] == "degraded"
    assert {m["name"]: m["reachable"] for m in status["machines"]}["lab2"] is False
    trio.service("lab2", "ssh", "start")
    assert site.is_whole()


def test_a_user_who_may_not_use_the_agent(trio, site):
    """He may log in, but the agent's socket is root's and its group's."""
    inside(trio, "lab2", "useradd", "-m", "-s", "/bin/sh", "-p", "*", "bob")
    public = (trio.folder / "id_ed25519.pub").read_text()
    script = f"mkdir /home/bob/.ssh && echo '{public}' > /home/bob/.ssh/authorized_keys"
    inside(trio, "lab2", "sh", "-c", f"{script} && chown -R bob /home/bob/.ssh")
    try:
        site.site.write_text(site.site.read_text().replace('ssh = "lab2"', 'ssh = "bob@lab2"'))
        said = site("apply", site.topology(), code=1)
    finally:
        inside(trio, "lab2", "userdel", "-r", "bob", code=None)
    assert "lab2: no agent answers at /run/otter/agent.sock: this user may not use it" in said
    assert "log in as root, or as a user of group otter" in said
    assert site.meshes() == NOWHERE


def test_an_agent_of_another_version(trio, site):
    """It speaks another API: told before anything is planned, with what to do."""
    other = site.folder / "other"
    shutil.copytree(ROOT / "otter_agent", other / "otter_agent", ignore=_caches)
    version = other / "otter_agent/api/__init__.py"
    found = [
        p for p in (other / "otter_agent/api").glob("*.py") if "API_VERSION = " in p.read_text()
    ]
    [version] = found
    text = version.read_text()
    number = text.split("API_VERSION = ", 1)[1].split("\n", 1)[0]
    version.write_text(text.replace(f"API_VERSION = {number}", "API_VERSION = 999"))
    trio.service("lab3", "agent", "stop")
    target = trio.folder.machine("lab3") / "disk/var/tmp/other"
    shutil.copytree(other, target)
    serve = f"PYTHONPATH=/var/tmp/other exec {sys.executable} -m otter_agent serve --name lab3"
    inside(trio, "lab3", "sh", "-c", f"cd /; setsid sh -c '{serve}' </dev/null >/dev/null 2>&1 &")
    try:
        wait_for(lambda: site.agent("lab3", "/v1/info"), "the other agent")
        said = site("apply", site.topology(), code=1)
        listed = site("machine", "check", "lab3", code=1)
    finally:
        inside(trio, "lab3", "sh", "-c", "kill $(cat /run/otter/agent.pid)")
        wait_for(lambda: not site.agent("lab3", "/v1/info"), "the other agent has ended")
        shutil.rmtree(target)
        trio.service("lab3", "agent", "start")
    assert "lab3: its agent is of version" in said
    assert "speaks another API; otterctl machine upgrade lab3" in said
    assert "speaks API 999" in listed
    assert site.meshes() == NOWHERE


def _caches(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__"]


def test_a_machine_without_space(trio, site):
    """What it can't keep it doesn't take: the others go back, and with room all is well."""
    trio.service("lab3", "agent", "stop")
    inside(trio, "lab3", "mount", "-t", "tmpfs", "-o", "size=2m", "none", "/var/lib/otter")
    trio.service("lab3", "agent", "start")
    try:
        inside(trio, "lab3", "sh", "-c", "cat /dev/zero > /var/lib/otter/full 2>/dev/null; true")
        said = site("apply", site.topology(), code=1)
        assert "lab3: " in said
        assert "No space left on device" in said
        wait_for(lambda: site.meshes() == NOWHERE, "all have gone back")
        inside(trio, "lab3", "rm", "/var/lib/otter/full")
        site("apply", site.topology())
        site("destroy", "--yes", "--no-fetch")
    finally:
        trio.service("lab3", "agent", "stop")
        inside(trio, "lab3", "umount", "/var/lib/otter")
        trio.service("lab3", "agent", "start")
