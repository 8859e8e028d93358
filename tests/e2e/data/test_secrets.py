"""Secrets: inside the module, and nowhere else on the machine."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path

import pytest
from helpers.images import busybox_root
from helpers.otter import Otter

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]
SHOW = "head -c 4 /run/secrets/TOKEN | od -An -c; ls -l /run/secrets; exec sleep 1000"
"""Shows that it is there without saying what it is."""


@pytest.fixture
def value():
    """One that can be found anywhere."""
    return f"tell-{uuid.uuid4().hex}"


@pytest.fixture
def apply(place):
    """Applies modules with TOKEN (and more) in the environment."""

    def run(*modules, code=0, top="", **environment):
        place.otter.env |= environment
        try:
            return place.otter("apply", place.topology(*modules, top=top), code=code)
        finally:
            for name in environment:
                del place.otter.env[name]

    return run


def tmpfs_files(otter):
    return list((otter.root / "a" / "run" / "secrets").rglob("*"))


def test_it_is_a_file_that_only_the_module_may_read(place, apply, value):
    apply(place.module(SHOW, secrets='["TOKEN"]'), TOKEN=value)
    place.says("t   e   l   l", "-r--------")
    assert place.inside("sh", "-c", "cat $OTTER_SECRETS/TOKEN") == value
    assert "Read-only" in place.otter(
        "exec", "-m", "data", "m", "--", "sh", "-c", "echo x > /run/secrets/x", code=None
    ).stderr  # fmt: skip
    place.otter("destroy", "-m", "data", "--yes")
    assert tmpfs_files(place.otter) == []
    assert str(place.otter.root) not in Path("/proc/self/mountinfo").read_text()
    assert not Path("/run/secrets").exists()


def test_missing_ones_are_named_before_anything_changes(place, apply):
    module = place.module(secrets='["TOKEN", "OTHER"]')
    before = set(place.otter.runs.glob("data/*"))
    done = apply(module, code=2, TOKEN="x")
    assert "module m: secrets: OTHER is not set in your environment" in done.stderr
    done = apply(module, code=2, TOKEN="x", OTHER="")
    assert "OTHER is empty" in done.stderr
    assert place.otter.json("ls") == []
    assert set(place.otter.runs.glob("data/*")) == before


def test_another_value_restarts_that_module_alone(place, apply, value):
    modules = [
        place.module(SHOW, secrets='["TOKEN"]'),
        place.module(name="n", secrets='["OTHER"]'),
        place.module(name="o"),
    ]
    apply(*modules, TOKEN=value, OTHER="x")
    pids = {name: m["pid"] for name, m in place.otter.modules("data").items()}
    apply(*modules, TOKEN=value, OTHER="x")
    assert {name: m["pid"] for name, m in place.otter.modules("data").items()} == pids
    assert planned(place, *modules, TOKEN=value) == []
    assert planned(place, *modules, TOKEN=f"{value}2", OTHER="x") == [("m", ["secrets.TOKEN"])]
    assert {name: m["pid"] for name, m in place.otter.modules("data").items()} == pids
    done = apply(*modules, TOKEN=f"{value}2", OTHER="x")
    assert "module m restarts: secrets.TOKEN\n" in done.stderr
    assert "nothing to change" not in done.stdout
    assert value not in done.stdout + done.stderr
    assert "a secret has changed: it starts anew" in place.otter("events", "-m", "data").stdout
    after = place.otter.modules("data")
    assert after["m"]["state"] == "ready"
    assert after["m"]["pid"] != pids["m"]
    assert (after["n"]["pid"], after["o"]["pid"]) == (pids["n"], pids["o"])
    assert place.inside("cat", "/run/secrets/TOKEN") == f"{value}2"


def planned(place, *modules, **environment):
    """The modules that `plan` says will be restarted, with why."""
    place.otter.env |= environment
    try:
        plan = place.otter.json("plan", place.topology(*modules))
    finally:
        for name in environment:
            del place.otter.env[name]
    assert not any(v in json.dumps(plan) for v in environment.values() if len(v) > 1)
    return [(c["name"], c["because"]) for c in plan["changes"] if c["restart"]]


def test_after_a_reboot_it_waits_for_the_next_apply(place, apply, value):
    """What a reboot leaves: no memory, no processes; here the agent's, and the module's."""
    otter = place.otter
    module = place.module(SHOW, secrets='["TOKEN"]')
    other = place.module(name="n")
    apply(module, other, TOKEN=value)
    pid = otter.modules("data")["m"]["pid"]
    otter.kill_agent()
    for path in tmpfs_files(otter):
        if path.is_file():
            path.unlink()
    os.kill(pid, 9)
    otter.serve()
    found = otter.wait_state("data", "m", "pending")
    assert found["reason"] == "waits for its secret TOKEN: apply again to send it"
    otter.wait_state("data", "n", "ready")
    apply(module, other, TOKEN=value)
    assert otter.modules("data")["m"]["state"] == "ready"
    assert otter.modules("data")["m"]["pid"] != pid
    assert place.inside("cat", "/run/secrets/TOKEN") == value


def processes():
    return [name for name in os.listdir("/proc") if name.isdigit()]


def test_neither_cp_nor_fetch_carries_them(place, apply, value):
    script = (
        "cd $OTTER_WORK; ln -s /run/secrets/TOKEN out; ln -s /run/secrets box; echo made;"
        "exec sleep 1000"
    )
    apply(place.module(script, secrets='["TOKEN"]', outputs='["out", "box/*", "*"]'), TOKEN=value)
    place.says("made")
    target = place.otter.root / "got"
    target.mkdir(exist_ok=True)
    for path in ("/run/secrets/TOKEN", "/run/secrets", "/run/secrets/.", "/run", "/",
                 "/run/../run/secrets/TOKEN", "/work/box/TOKEN", "box/."):  # fmt: skip
        done = place.otter("cp", "-m", "data", f"m:{path}", target, code=1)
        assert value not in done.stdout + done.stderr
        place.otter("cp", "-m", "data", "-L", f"m:{path}", target, code=1)
    assert place.otter("cp", "-m", "data", "m:/run/secrets/.", "-", code=1).stdout == ""
    place.otter("cp", "-m", "data", "-L", "m:out", target, code=1)
    place.otter("fetch", "-m", "data")
    assert not contains(target, value)
    assert not contains(place.otter.runs, value)


def contains(folder: Path, value: str) -> list[Path]:
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # of an engine's mounts not all can be read
            if path.is_file() and not path.is_symlink() and value.encode() in path.read_bytes():
                found.append(path)
    return found


@pytest.mark.parametrize("runtime", ["process", "docker"])
def test_its_value_is_nowhere_but_in_its_file(request, require, runtime, value):
    """With an agent that `apply` starts, as most are: it must not inherit the caller's words."""
    engine = request.getfixturevalue("dockerd") if runtime == "docker" else None
    head = 'runtime = "process"\n'
    if engine:
        head = f'runtime = "docker"\nimage = "{request.getfixturevalue("busybox_image")}"\n'
    require("netns", os.geteuid() == 0, "not root")
    otter = Otter(docker=engine.url if engine else None)
    try:
        file = otter.topology(
            f'name = "s"\n[hosts.h]\n[modules.m]\n{head}secrets = ["TOKEN"]\n'
            'command = ["sh", "-c", "test -s /run/secrets/TOKEN && exec sleep 1000"]\n'
            'outputs = ["*"]\n'
        )
        otter.env["TOKEN"] = value
        said = [otter("apply", file), otter("plan", file), otter("plan", file, "--json", code=None)]
        del otter.env["TOKEN"]
        for verb in ("status", "logs", "events"):
            said += [otter(verb), otter(verb, "--json")]
        said += [otter("fetch"), otter("doctor", "--json", code=None)]
        for done in said:
            assert value not in done.stdout + done.stderr, done.args
        secret = otter.root / "a/run/secrets/s/m/TOKEN"
        assert secret.read_text() == value
        assert secret.stat().st_mode & 0o777 == 0o400
        assert contains(otter.root, value) == [secret]  # sqlite with its WAL, logs, records, runs
        assert who_says(value) == []
        if engine:
            (one,) = [c for c in engine.request("GET", "/containers/json?all=1")
                      if c["Labels"].get("otter.agent") == otter.agent_id]  # fmt: skip
            shown = engine.request("GET", f"/containers/{one['Id']}/json")
            assert value not in json.dumps(shown)
            assert contains(engine.root, value) == []
        otter("destroy", "--yes")
        assert contains(otter.root, value) == []
    finally:
        otter.env.pop("TOKEN", None)
        otter.close()


def who_says(value: str) -> list[str]:
    """Processes that have it in their environment or command line; not this test's own."""
    found = []
    for pid in set(processes()) - {str(os.getpid())}:
        for name in ("environ", "cmdline"):
            try:
                if value.encode() in Path(f"/proc/{pid}/{name}").read_bytes():
                    found.append(f"{pid} {name}")
            except OSError:
                continue
    return found


@pytest.mark.parametrize("place", ["docker"], indirect=True)
def test_a_user_of_the_image_may_read_it(place, apply, dockerd):
    """`USER 1234` in an image: the file is that user's."""
    dockerd.import_image("otter-test/user:1", busybox_root(), "USER 1234:1234")
    script = "cat /run/secrets/TOKEN; ls -ln /run/secrets; exec sleep 1000"
    module = place.module(script, secrets='["TOKEN"]')
    module = module.replace("otter-test/busybox:1", "otter-test/user:1")
    apply(module, TOKEN="not so secret")
    place.says("not so secret", "-r--------    1 1234     1234")
