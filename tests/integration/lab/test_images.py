"""Images between machines of a lab: real engines, real sshd, a narrow way between them.

`/var/lib/otter/layers` and `/var/lib/docker` of a machine can be looked at from this computer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress

import pytest
from helpers import labs
from helpers.images import tar
from helpers.labs import otterctl, ssh
from helpers.otter import wait_for

from otter_ctl.lab.lab import Lab

pytestmark = [
    pytest.mark.docker, pytest.mark.netns, pytest.mark.slow,
    pytest.mark.timeout(300),
]  # fmt: skip

BASE_MB = 20
NARROW = "rate=80mbit"
"""So what is sent takes about two seconds: a part of it can be seen."""
CUT_MB = 60
"""What is to be cut takes six: whoever looks for a part of it, and cuts, may be late by seconds."""
DOCKERFILE = """FROM base:1
COPY code.txt /code.txt
CMD ["/busybox", "sleep", "3600"]
"""
TOPOLOGY = """
name = "images"
[hosts.a]
machine = "lab1"
[hosts.b]
machine = "lab2"
[[links]]
between = ["a", "b"]
[modules.work]
build = "work"
runtime = "docker"
host = "*"
"""


@pytest.fixture(scope="module")
def trio(require):
    """Three machines with engines; only the first has the image that modules are built on."""
    why = labs.unavailable()
    require("netns", not why, why)
    require("docker", shutil.which("dockerd"), "no dockerd")
    with labs.new_folder() as folder:
        one = Lab(folder)
        one.up(3, layers=labs.layers(), management=NARROW)
        make(one, "base:1", BASE_MB)
        yield one


@pytest.fixture
def mesh(trio, tmp_path, monkeypatch):
    """A topology with one module on two machines; its code is of this test alone."""
    monkeypatch.setenv("OTTER_RUNS", str(tmp_path / "runs"))
    (tmp_path / "work").mkdir()
    (tmp_path / "work/Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "work/code.txt").write_text(f"{tmp_path}\n" + "as it was\n" * 100)
    file = tmp_path / "mesh.toml"
    file.write_text(TOPOLOGY)
    yield file
    otterctl(trio, "destroy", "-m", "images", "--yes", "--no-fetch", code=None)


def make(lab, tag, megabytes, machine="lab1"):
    """An image of one layer with busybox and noise."""
    ssh(
        lab,
        machine,
        "rm -rf /tmp/x; mkdir /tmp/x && cp /bin/busybox /tmp/x &&"
        f" head -c {megabytes}000000 /dev/urandom > /tmp/x/noise && tar -C /tmp/x -c . |"
        ' docker import -c \'CMD ["/busybox", "sleep", "3600"]\' - ' + tag,
    )


def layers_of(lab, machine):
    return lab.folder.path / "machines" / machine / "disk/var/lib/otter/layers"


def uploads(lab, machine):
    """How many the agent has."""
    folder = lab.folder.path / "machines" / machine / "disk/var/lib/otter/blobs"
    return len(list(folder.glob("*"))) if folder.exists() else 0


def has_come(lab, machine):
    """Bytes of layers under way."""
    folder, found = layers_of(lab, machine), 0
    for path in folder.glob("*") if folder.exists() else ():
        with suppress(FileNotFoundError):  # it has come whole, or was taken
            found += path.stat().st_size
    return found


def image_id(lab, machine, tag):
    return ssh(lab, machine, f"docker image inspect -f '{{{{.Id}}}}' {tag}", code=None).strip()


def apply(lab, file, *more):
    """What it said of images."""
    argv = [labs.BIN / "otterctl", "apply", str(file), *more]
    env = {**os.environ, "OTTER_LAB": str(lab.folder.path), "NO_COLOR": "1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def sent(said):
    """(layers lacking, layers, what was sent) of each transfer that it tells of."""
    return re.findall(r"lab1 to lab\d: (\d+) of (\d+) layers, ([\d.]+ \w+) sent", said)


def test_one_machine_builds_and_the_others_get_what_they_lack(trio, mesh):
    said = apply(trio, mesh)
    assert [one[:2] for one in sent(said)] == [("2", "2")], said
    assert said.count("is made on lab1") == 1
    assert "base:1" not in ssh(trio, "lab2", "docker images")
    assert uploads(trio, "lab1") == 1
    assert uploads(trio, "lab2") == 0, "nobody builds there"
    listed = [ssh(trio, name, "docker images -q otter/module") for name in ("lab1", "lab2")]
    assert listed[0] == listed[1] != ""
    assert has_come(trio, "lab2") == 0

    (mesh.parent / "work/code.txt").write_text("as it was\n" * 99 + "another line\n")
    said = apply(trio, mesh)
    ((lacking, of, size),) = sent(said)
    assert (lacking, of) == ("1", "2")
    assert size.endswith(" B") or float(size.removesuffix(" KiB")) < 5, size

    assert sent(apply(trio, mesh)) == []
    mesh.write_text(TOPOLOGY.replace('"*"', '"*"\nenv = { A = "1" }'))
    said = apply(trio, mesh)  # other modules, the same image
    assert sent(said) == []
    assert "is made on" not in said


def test_a_builder_makes_it_for_machines_that_can_not(trio, mesh):
    """The builder carries nothing itself; only it has what the module is built on."""
    make(trio, "base:3", 1, "lab3")
    mesh.write_text(TOPOLOGY + "[machines.lab3]\nbuilder = true\n")
    (mesh.parent / "work/Dockerfile").write_text(DOCKERFILE.replace("base:1", "base:3"))
    said = apply(trio, mesh)
    assert re.findall(r"made on (\w+)", said) == ["lab3"]
    assert sorted(re.findall(r"lab3 to (\w+): 2 of 2 layers", said)) == ["lab1", "lab2"]
    assert json.loads(otterctl(trio, "status", "--json"))["state"] == "ready"


def test_hosts_are_placed_where_the_images_of_their_modules_are(trio, mesh):
    """Each machine's engine is asked; it is the last of them that has this one."""
    make(trio, "held:1", 5, "lab3")
    mesh.write_text(
        'name = "images"\n[hosts.a]\namong = "lab*"\n'
        '[modules.work]\nimage = "held:1"\nruntime = "docker"\nhost = "a"\n'
    )
    planned = json.loads(otterctl(trio, "plan", mesh, "--explain", "--json"))
    assert planned["machines"] == {"a": "lab3"}
    (reason,) = planned["hosting"]
    assert reason["why"] == "costs least there; its images are there, or come with others"
    assert set(reason["others"]) == {"lab1", "lab2"}
    for why in reason["others"].values():
        assert re.fullmatch(r"\d+(kB|MB) more of images would be brought there", why)
    assert reason["image_bytes"] == 0


def test_what_was_sent_is_pruned_by_who_got_it(trio, mesh):
    apply(trio, mesh)
    otterctl(trio, "destroy", "-m", "images", "--yes", "--no-fetch")
    listed = json.loads(ssh(trio, "lab2", "otterctl image ls --json"))
    assert [one["reference"] for one in listed if not one["used_by"]]
    ssh(trio, "lab2", "otterctl image prune")
    assert ssh(trio, "lab2", "docker images -q otter/module") == ""


@contextmanager
def sending(lab, *words):
    argv = [labs.BIN / "otterctl", "image", "send", *words, "--json"]
    env = {**os.environ, "OTTER_LAB": str(lab.folder.path)}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_was_killed_goes_on_where_it_was(trio):
    make(trio, "killed:1", CUT_MB)
    words = ("killed:1", "--from", "lab1", "--to", "lab2")
    with sending(trio, *words) as process:
        wait_for(lambda: has_come(trio, "lab2") > 4_000_000, "a part of it")
        process.send_signal(signal.SIGKILL)
        process.wait()
    (done,) = json.loads(otterctl(trio, "image", "send", *words, "--json"))
    assert done["kept_bytes"] > 3_000_000
    assert done["sent_bytes"] < (CUT_MB - 2) * 1_000_000
    assert image_id(trio, "lab2", "killed:1") == image_id(trio, "lab1", "killed:1")
    assert has_come(trio, "lab2") == 0


def kill_agent(lab, machine):
    """Not by SSH, whose way is full; the machine starts another."""
    kill = "kill -9 $(cat /run/otter/agent.pid)"
    inside = ["nsenter", "-a", "-t", str(lab.pid_of(machine)), "sh", "-c", kill]
    subprocess.run(inside, check=True)


@pytest.mark.parametrize("end", ["lab1", "lab2"])
def test_an_agent_that_is_killed_meanwhile_is_waited_for(trio, end):
    tag = f"cut-{end}:1"
    make(trio, tag, CUT_MB)
    with sending(trio, tag, "--from", "lab1", "--to", "lab2") as process:
        wait_for(lambda: has_come(trio, "lab2") > 2_000_000, "a part of it")
        kill_agent(trio, end)
        out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    (done,) = json.loads(out)
    assert done["kept_bytes"] > 1_000_000
    assert image_id(trio, "lab2", tag) == image_id(trio, "lab1", tag)


def test_two_get_it_at_once(trio):
    """Both have a part of it at the same moment: where one waits for the other, never."""
    make(trio, "both:1", CUT_MB // 2)
    words = ("both:1", "--from", "lab1", "--to", "lab2", "--to", "lab3")

    def both():
        return all(has_come(trio, name) > 1_000_000 for name in ("lab2", "lab3"))

    with sending(trio, *words) as process:
        wait_for(both, "a part of it on both")
        assert process.poll() is None
        out, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert {one["machine"] for one in json.loads(out)} == {"lab2", "lab3"}
    assert len({image_id(trio, name, "both:1") for name in ("lab1", "lab2", "lab3")}) == 1


def test_what_is_sent_is_compressed(trio):
    ssh(
        trio,
        "lab1",
        "rm -rf /tmp/x; mkdir /tmp/x && yes 'a module tells much' | head -c 5000000 > /tmp/x/text"
        " && tar -C /tmp/x -c . | docker import - text:1",
    )
    words = ("text:1", "--from", "lab1", "--to", "lab2", "--to", "lab3", "--json")
    done = json.loads(otterctl(trio, "image", "send", *words))
    assert {one["machine"]: one["layers"] for one in done} == {"lab2": 1, "lab3": 1}
    assert all(one["sent_bytes"] < one["layer_bytes"] / 10 for one in done)
    assert len({image_id(trio, name, "text:1") for name in ("lab1", "lab2", "lab3")}) == 1


def test_what_is_damaged_at_the_sender_is_refused(trio):
    make(trio, "rotten:1", 1)
    folder = ssh(trio, "lab1", "docker inspect -f '{{.GraphDriver.Data.UpperDir}}' rotten:1")
    ssh(trio, "lab1", f"printf X | dd of={folder}/noise bs=1 seek=500000 conv=notrunc 2>&1")
    words = ("rotten:1", "--from", "lab1", "--to", "lab2")
    assert "another digest" in otterctl(trio, "image", "send", *words, code=1)
    assert "No such image" in image_id(trio, "lab2", "rotten:1")
    assert has_come(trio, "lab2") == 0


def test_where_there_is_no_room_it_says_so(trio):
    make(trio, "large:1", 8)
    ssh(trio, "lab3", "mkdir -p /var/lib/otter/layers && mount -t tmpfs -o size=2m x $_")
    words = ("large:1", "--from", "lab1", "--to", "lab2", "--to", "lab3")
    try:
        said = otterctl(trio, "image", "send", *words, code=1)
    finally:
        ssh(trio, "lab3", "umount /var/lib/otter/layers")
    assert re.search(
        r"lab3: large:1 needs [\d.]+ MB in /var/lib/otter/layers, where 2[\d.]* MB", said
    )
    assert "lab2: 1 of 1 layers" in said  # one machine's trouble isn't the others'


def load_arm(lab, machine, folder):
    """`arm:1`, as `docker load` takes it."""
    layer = tar({"busybox": b"\x7fELF"})
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {"architecture": "arm64", "os": "linux", "config": {"Cmd": ["/busybox"]},
              "rootfs": {"type": "layers", "diff_ids": [diff_id]}}  # fmt: skip
    image = [{"Config": "c.json", "RepoTags": ["arm:1"], "Layers": ["l.tar"]}]
    files = {"c.json": json.dumps(config).encode(), "manifest.json": json.dumps(image).encode()}
    there = lab.folder.path / "machines" / machine / "disk/root/arm.tar"
    there.write_bytes(tar({**files, "l.tar": layer}))
    ssh(lab, machine, "docker load -i /root/arm.tar")


def test_what_is_for_other_machines_is_refused_in_the_plan(trio, mesh, tmp_path):
    load_arm(trio, "lab2", tmp_path)
    mesh.write_text(TOPOLOGY.replace('build = "work"', 'image = "arm:1"').replace('"*"', '"b"'))
    for verb in ("plan", "apply"):
        said = otterctl(trio, verb, mesh, code=1)
        assert "image arm:1 is for arm64, this machine is amd64" in said
    words = ("arm:1", "--from", "lab2", "--to", "lab1")
    assert "is for arm64" in otterctl(trio, "image", "send", *words, code=1)
    mesh.write_text(TOPOLOGY.replace('build = "work"', 'build = "work"\naccelerator = "cuda"'))
    for verb in ("plan", "apply"):
        said = otterctl(trio, verb, mesh, code=1)
        assert "made for cuda, which this machine has no driver of" in said
    assert otterctl(trio, "ls").count("images") == 0
