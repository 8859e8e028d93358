"""The agent as a container: what is sent, what is run, and that the compose file says the same."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from otter_ctl.cli.machine import command
from otter_ctl.errors import RemoteError
from otter_ctl.machine import container, installing
from otter_ctl.machine.checks import Seen, checks, usable
from otter_ctl.machine.facts import Facts, Python, parse
from otter_ctl.machine.installing import plan_container, plan_remove
from otter_ctl.machine.removing import Removal, around
from otter_ctl.machine.steps import data
from otter_ctl.machine.wheel import Wheel


def facts(**changes: object) -> Facts:
    found = parse("user=bob\nuid=1000\nsystem=Linux\narch=x86_64\nroot=none\nend=yes\n")
    assert found is not None
    return replace(found, **changes)  # type: ignore[arg-type]


def test_all_scripts_are_shell_and_need_no_root() -> None:
    done = [*container.install("1.0+x-abc", "it's", "/tmp/staged"), container.clean("1.0-abc")]
    ending = Removal("it's", None)
    done += [*around(ending, container.stop(), container.once("1.0-abc")), *container.remove()]
    for step in done:
        subprocess.run(["sh", "-n"], input=step.script, text=True, check=True)
        assert not step.root
        assert step.title
    assert "otter-agent:1.0_x-abc" in done[0].script


def test_the_context_is_what_the_dockerfile_copies(tmp_path: Path) -> None:
    wheel = tmp_path / "numpy-1.whl"
    wheel.write_bytes(b"n")
    files = dict(container.context(("otter_mesh-1.whl", b"o"), [wheel]))
    assert set(files) == {"Dockerfile", "compose.yaml", "own/otter_mesh-1.whl", "deps/numpy-1.whl"}
    copied = re.findall(r"^COPY (\w+) ", data("agent.Dockerfile"), re.M)
    assert {name.partition("/")[0] for name in files if "/" in name} == set(copied)
    assert f"FROM {container.BASE}\n" in data("agent.Dockerfile")


def test_the_compose_file_starts_the_same_container() -> None:
    [(name, service)] = yaml.safe_load(data("compose.yaml"))["services"].items()
    mounts = {"": "", "rshared": ":${OTTER_MOUNTS:-rshared}"}
    assert service["volumes"] == [f"{path}:{path}{mounts[kind]}" for path, kind in container.BINDS]
    assert name == service["image"] == container.NAME
    assert (service["build"], service["command"]) == (".", ["--name", "${OTTER_NAME:-local}"])
    assert service["user"] == "0:${OTTER_GROUP:-0}"
    run = container.start("1.0-abc", "pi").script
    for option, key, value in (
        ("--privileged", "privileged", True), ("--pid host", "pid", "host"),
        ("--network host", "network_mode", "host"), ("--uts host", "uts", "host"),
        ("--cgroupns host", "cgroup", "host"),
        ("--name otter-agent", "container_name", "otter-agent"),
        ("--restart unless-stopped", "restart", "unless-stopped"),
    ):  # fmt: skip
        assert option in run
        assert service.pop(key) == value
    assert service.keys() == {"image", "build", "command", "user", "volumes"}, "nothing is left out"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("here", "asked", "pips"),
    [
        ("AMD64", (), "x86_64"),  # Windows
        ("ARM64", (), "aarch64"),
        ("x86_64", (), "x86_64"),
        ("arm64", (), "aarch64"),  # macOS
        ("aarch64", (), "aarch64"),
        ("AMD64", ("--arch", "arm64"), "aarch64"),
    ],
)
def test_a_context_is_for_the_processor_of_the_computer_that_asks(
    here: str,
    asked: tuple[str, ...],
    pips: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = []

    def fetch(machine: str, facts: Facts, python: Python) -> list[Path]:
        wanted.append((facts.arch, facts.libc, python.version))
        (tmp_path / "numpy-1.whl").write_bytes(b"n")
        return [tmp_path / "numpy-1.whl"]

    monkeypatch.setattr(platform, "machine", lambda: here)
    monkeypatch.setattr(installing, "fetch", fetch)
    folder = tmp_path / "agent"
    done = CliRunner().invoke(command, ["context", str(folder), *asked])
    assert done.exit_code == 0, done.output
    assert f"-f {folder / 'compose.yaml'} up" in done.output
    assert wanted == [(pips, container.LIBC, container.PYTHON)]
    assert (folder / "compose.yaml").read_text() == data("compose.yaml")
    assert (folder / "Dockerfile").read_text() == data("agent.Dockerfile")
    assert (folder / "deps/numpy-1.whl").read_bytes() == b"n"
    assert not (folder / ".env").exists()
    [own] = (folder / "own").glob("*.whl")
    assert own.stat().st_size > 100_000


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_docker_desktop_is_not_asked_for_shared_mounts(system: str) -> None:
    """It would refuse to start the container. Compose reads `.env` beside the file."""
    assert container.settings(system, b"") == b"OTTER_MOUNTS=rprivate\n"
    assert "${OTTER_MOUNTS:-" in data("compose.yaml")


@pytest.mark.parametrize(
    ("there", "then"),
    [
        (b"OTTER_NAME=desk\nTOKEN=x", b"OTTER_NAME=desk\nTOKEN=x\nOTTER_MOUNTS=rprivate\n"),
        (b"OTTER_NAME=desk\r\n", b"OTTER_NAME=desk\r\nOTTER_MOUNTS=rprivate\n"),
        (b"OTTER_MOUNTS=rshared\nOTTER_NAME=desk\n", None),
        (b"A=1\nexport OTTER_MOUNTS = rprivate", None),
        (b"# OTTER_MOUNTS=rshared\n", b"# OTTER_MOUNTS=rshared\nOTTER_MOUNTS=rprivate\n"),
        (b"NAME=\xff", b"NAME=\xff\nOTTER_MOUNTS=rprivate\n"),
    ],
)
def test_settings_that_are_there_stay(
    there: bytes, then: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a newer OTTER: the same command again."""
    monkeypatch.setattr(installing, "fetch", lambda *_: [])
    monkeypatch.setattr(installing, "own_wheel", lambda: Wheel("1.0", "abc", "own.whl", b""))
    path = tmp_path / ".env"
    path.write_bytes(there)
    for platform_ in ("linux", "darwin", "darwin"):
        installing.write_context(tmp_path, "x86_64", platform_)
        assert path.read_bytes() == (there if platform_ == "linux" or then is None else then)


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "docker-compose.yml"])
def test_another_projects_folder_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`machine context .`: Compose would start an agent, not what its user means."""
    monkeypatch.setattr(installing, "fetch", lambda *_: [])
    monkeypatch.setattr(installing, "own_wheel", lambda: Wheel("1.0", "abc", "own.whl", b""))
    (tmp_path / name).write_text("services:\n  web: {}\n")
    with pytest.raises(RemoteError, match=f"{re.escape(name)} is another project's") as raised:
        installing.write_context(tmp_path, "x86_64", "darwin")
    assert raised.value.hint == "name another folder, such as agent"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "services:\n  web: {}\n"


def test_what_an_earlier_release_wrote_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its packages, too: the image has all that are there installed."""
    monkeypatch.setattr(installing, "fetch", lambda *_: [])
    for release in ("1.0", "2.0"):
        own = Wheel(release, "abc", f"otter-{release}.whl", b"")
        monkeypatch.setattr(installing, "own_wheel", lambda own=own: own)
        installing.write_context(tmp_path, "x86_64", "linux")
        for name in ("Dockerfile", "compose.yaml"):
            text = (tmp_path / name).read_bytes()
            assert text.startswith(container.HEAD)
            assert b"changed" not in text
            (tmp_path / name).write_bytes(text + b"# changed\n")
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["otter-2.0.whl"]


@pytest.mark.parametrize(("here", "asked"), [("x86_64", ("--arch", "arm")), ("ppc64le", ())])
def test_a_context_for_a_processor_without_an_image_is_refused(
    here: str, asked: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: here)
    done = CliRunner().invoke(command, ["context", str(tmp_path / "agent"), *asked])
    assert done.exit_code == 2
    assert "amd64, arm64" in done.output
    assert not (tmp_path / "agent").exists()


@pytest.mark.parametrize(
    ("is_so", "said"),
    [
        ({"docker": "permission denied"}, "bob may not use Docker there: permission denied"),
        ({}, "bob may not use Docker there: there is none"),
        ({"docker_usable": True, "release": "1.0-abc"}, "OTTER 1.0-abc is installed there"),
    ],
)
def test_where_it_cannot_be_one(is_so: dict[str, object], said: str) -> None:
    with pytest.raises(RemoteError, match=re.escape(said)):
        plan_container("pi", facts(**is_so))


def test_what_reverts_is_as_what_was_done() -> None:
    ending = Removal("pi", None)
    assert all(not step.root for step in plan_remove(facts(container="1.0-abc"), ending).steps)
    assert all(step.root for step in plan_remove(facts(release="1.0-abc"), ending).steps)


def test_a_machine_with_an_agent_in_a_container_is_told_as_what_it_is() -> None:
    def told(own: str) -> tuple[dict[str, bool | None], str]:
        seen = Seen(facts(container="1.0-abc", cgroup="v2"), 0.0, 0.0, None, "none", own, "1.0")
        found = {check.name: check for check in checks("pi", seen)}
        assert not usable(list(found.values()))  # its agent doesn't answer
        assert "docker logs --tail 50 otter-agent" in found["agent"].todo
        return {name: check.ok for name, check in found.items()}, found["otter"].detail

    states, said = told("1.0-abc")
    assert states["privileges"] is states["python"] is states["space"] is states["otter"] is True
    assert said == "1.0-abc, as a container"
    assert told("1.0-def") == (states | {"otter": False}, "1.0-abc, this otterctl is 1.0-def")


def test_who_may_only_use_docker_is_told_of_that_way() -> None:
    seen = Seen(facts(docker_usable=True), 0.0, 0.0, None, "none", "1.0-abc", "1.0")
    [check] = [check for check in checks("pi", seen) if check.name == "privileges"]
    assert check.ok is None
    assert check.todo.endswith("or otterctl machine add --via docker")
