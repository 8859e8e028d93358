"""What keeps a machine from becoming one: each is told with what to do, and nothing is changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from helpers import labs
from helpers.labs import ssh

from .conftest import PASSWORD, USER

pytestmark = pytest.mark.netns


@pytest.fixture
def unchanged(bare):
    """Nothing of OTTER is on the machines afterwards."""
    yield
    for name in ("lab1", "lab2"):
        ssh(bare, name, "test ! -e /opt/otter && ! ls /tmp/otter-add.*", code=0)


def test_a_bare_machine_is_told_apart_and_what_to_do(otterctl, bare, unchanged):
    told = otterctl("machine", "check", "root@lab1", "--ssh-config", otterctl.config, code=1)
    assert "otterctl machine add root@lab1" in told
    assert "isn't ready yet" in told
    if shutil.which("docker"):  # its client alone: the engine is down there
        assert "Cannot connect to the Docker daemon" in told
        assert "start it: systemctl start docker" in told
    told = labs.otterctl(bare, "machine", "upgrade", "lab1", "--yes", code=1)
    assert "OTTER isn't installed" in told


def test_what_another_way_of_installing_left_is_not_removed(bare, unchanged):
    """As of an agent by hand, which has no mesh just now; one that answers is asked likewise."""
    ssh(bare, "lab1", "mkdir -p /var/lib/otter/volumes/models")
    try:
        told = labs.otterctl(bare, "machine", "rm", "lab1", "--force", "--yes", code=1)
        there = ssh(bare, "lab1", "ls /var/lib/otter/volumes")
    finally:
        ssh(bare, "lab1", "rm -rf /var/lib/otter")
    assert "wasn't installed by otterctl machine add" in told
    assert "otterctl machine rm lab1 --forget" in told
    assert there.split() == ["models"]


def test_nobody_to_ask(otterctl, unchanged):
    words = ("machine", "add", "root@lab1", "--ssh-config", otterctl.config)
    assert "--yes" in otterctl(*words, code=2)


def test_sudo_asks_for_a_password(otterctl, bare, unchanged, tmp_path):
    target = f"{USER}@lab2"
    assert "OTTER_SUDO_PASSWORD" in otterctl.add(target, code=1)
    wrong = otterctl.add(target, code=1, OTTER_SUDO_PASSWORD="guess")
    assert "refuses" in wrong
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
    askpass.chmod(0o755)
    otterctl.add(target, SUDO_ASKPASS=str(askpass))
    [line] = json.loads(otterctl("machine", "ls", "--json"))
    assert (line["ssh"], line["version"] is not None) == (target, True), line
    otterctl("machine", "rm", "lab2", "--yes", OTTER_SUDO_PASSWORD=PASSWORD)


def test_no_room(otterctl, bare, unchanged):
    ssh(bare, "lab1", "mount -t tmpfs -o size=20m none /opt")
    try:
        told = otterctl.add("root@lab1", code=1)
    finally:
        ssh(bare, "lab1", "umount /opt")
    assert "20 MiB are free for /opt/otter, needed are about" in told


def archive_of_python(folder):
    """This interpreter, in the form of python-build-standalone's archives."""
    path, lib = folder / "python.tar.gz", Path(sysconfig.get_path("stdlib"))
    name = f"python3.{sys.version_info.minor}"
    left_out = {"test", "idlelib", "tkinter", "site-packages", "dist-packages", "__pycache__"}

    def wanted(entry):
        names = entry.name.split("/")
        return None if left_out & {*names} or names[-1].startswith("config-") else entry

    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(Path(sys.base_prefix, "bin", name).resolve(), f"python/bin/{name}")
        archive.add(lib, f"python/lib/{lib.name}", filter=wanted)
        for library in Path(sys.base_prefix, "lib").glob("libpython3*.so*"):
            archive.add(library, f"python/lib/{library.name}")
    return path


def test_no_python_is_told_and_one_can_be_brought_along(otterctl, bare, unchanged, tmp_path):
    hide = "mkdir /root/hidden && mv /usr/bin/python3* /root/hidden/"
    ssh(bare, "lab1", hide)
    try:
        told = otterctl.add("root@lab1", code=1)
        checked = otterctl("machine", "check", "root@lab1", "--ssh-config", otterctl.config, code=1)
        otterctl.add("root@lab1", "--python", archive_of_python(tmp_path))
        found = json.loads(otterctl("machine", "check", "lab1", "--json"))
        runs = ssh(bare, "lab1", "readlink -f /proc/$(cat /run/otter/agent.pid)/exe")
        again = otterctl.add("lab1", "--dry-run")
        otterctl("machine", "rm", "lab1", "--yes")
    finally:
        ssh(bare, "lab1", "mv /root/hidden/* /usr/bin/ && rmdir /root/hidden")
    assert "no Python 3.11 or newer was found; apt-get install python3" in told
    assert "or bring one along: otterctl machine add … --python FILE" in told
    assert "BAD  python: there is none" in checked
    assert "bring one along: otterctl machine add root@lab1 --python FILE" in checked
    assert found["usable"]
    assert runs.startswith("/opt/otter/python/")
    assert f"with {runs}" in again  # what was brought is found, also by an upgrade


MOVE = "for at in /usr/local/bin /usr/bin; do [ ! -e $at/{0} ] || mv $at/{0} $at/{1}; done"


def test_where_there_is_no_engine_one_is_offered(otterctl, bare, unchanged):
    ssh(bare, "lab1", MOVE.format("docker", "docker.not"))
    try:
        told = otterctl.add("root@lab1", "--dry-run")
        asked = otterctl.add("root@lab1", "--dry-run", "--docker")
    finally:
        ssh(bare, "lab1", MOVE.format("docker.not", "docker"))
    offer = "note: no Docker engine: modules run as processes (--docker installs one)"
    assert offer in told
    assert offer not in asked
    assert "  - install the Docker engine (apt-get install docker.io)" in asked


def test_no_sudo(otterctl, bare, unchanged):
    ssh(bare, "lab1", "useradd -m -s /bin/sh -p '*' bob && mv /usr/bin/sudo /usr/bin/sudo.not")
    try:
        told = otterctl.add("bob@lab1", code=1)
    finally:
        ssh(bare, "lab1", "mv /usr/bin/sudo.not /usr/bin/sudo; userdel -r bob 2>&-; true")
    assert "bob may not become root: there is no sudo" in told


def test_ssh_is_down(otterctl, bare, unchanged):
    bare.service("lab1", "ssh", "stop")
    try:
        assert "connection refused" in otterctl.add("root@lab1", code=1)
    finally:
        bare.service("lab1", "ssh", "start")


def test_a_key_that_is_not_accepted(otterctl, bare, unchanged, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    text = otterctl.config.read_text().replace(str(bare.folder / "id_ed25519"), str(key))
    otterctl.config = tmp_path / "config"
    otterctl.config.write_text(text)
    assert "none of your keys is accepted" in otterctl.add("root@lab1", code=1)


def test_a_host_key_that_is_not_known_is_accepted_by_its_fingerprint_alone(
    otterctl, bare, unchanged, tmp_path
):
    known = tmp_path / "known_hosts"
    known.write_text("")
    text = otterctl.config.read_text().replace(str(bare.folder / "known_hosts"), str(known))
    otterctl.config = tmp_path / "config"
    otterctl.config.write_text(text)
    key = bare.folder.machine("lab1") / "hostkey.pub"
    fingerprint = subprocess.check_output(["ssh-keygen", "-l", "-f", key], text=True).split()[1]
    told = otterctl.add("root@lab1", code=1)
    assert f"--accept-host-key {fingerprint}" in told
    other = "SHA256:" + "A" * 43
    assert "another host key" in otterctl.add("root@lab1", "--accept-host-key", other, code=1)
    assert known.read_text() == ""
    otterctl.add("root@lab1", "--dry-run", "--accept-host-key", fingerprint)
    assert known.read_text().startswith("lab1 ssh-ed25519 ")
    otterctl.add("root@lab1", "--dry-run")


def test_a_host_key_that_has_changed(otterctl, bare, unchanged, tmp_path):
    keys = [(bare.folder.machine(name) / "hostkey.pub").read_text() for name in ("lab1", "lab2")]
    known = tmp_path / "known_hosts"
    known.write_text(f"lab1 {keys[1]}")
    text = otterctl.config.read_text().replace(str(bare.folder / "known_hosts"), str(known))
    otterctl.config = tmp_path / "config"
    otterctl.config.write_text(text)
    told = otterctl.add("root@lab1", code=1)
    assert "host key has changed" in told
    assert "ssh-keygen -R" in told


def test_packages_that_cannot_be_had(otterctl, bare, unchanged, tmp_path):
    nothing = {
        "OTTER_CACHE": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    assert "its packages can't be fetched" in otterctl.add("root@lab1", code=1, **nothing)


def test_the_lab_is_found_without_a_site_file(bare):
    assert "lab2" in labs.otterctl(bare, "machine", "ls")
