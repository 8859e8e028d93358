"""Scripts that are sent to machines are what a shell takes, with systemd and without."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from helpers.otter import wait_for

from otter_ctl.machine import packages, steps
from otter_ctl.machine.facts import Facts, Python, parse

PYTHON = Python("/usr/bin/python3", (3, 11, 2), "linux-x86_64", venv=True)


def facts(**changes: object) -> Facts:
    found = parse("user=al ice\nuid=1000\nsystem=Linux\nend=yes\n")
    assert found is not None
    return replace(found, **changes)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("systemd", [True, False])
def test_all_scripts_are_shell(systemd: bool) -> None:
    own = facts(systemd=systemd)
    sums = {"pip-1.whl": "ab" * 32}
    done = steps.install(own, PYTHON, "1.0-abc", "it's", "/tmp/staged", sums, "pip-1.whl")
    done += [*steps.back(own, "0.9-def", "pi"), steps.stop(own), *steps.remove()]
    done += [packages.docker(), packages.remove(), steps.clean("1.0-abc")]
    for step in done:
        subprocess.run(["sh", "-n"], input=step.script, text=True, check=True)
        assert step.root
        assert step.title


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., int]:
    """Do as root does with what was sent, `one.whl` and another file beside it; its exit status."""
    staged, sent = tmp_path / "staged", b"one"
    staged.mkdir()
    (staged / "one.whl").write_bytes(sent)
    (staged / "msgspec-99-py3-none-any.whl").write_bytes(b"by another")

    def copy(sent: bytes = sent) -> int:
        step = steps.copy(str(staged), {"one.whl": hashlib.sha256(sent).hexdigest()})
        script = step.script.replace(steps.TOP, str(tmp_path / "otter"))
        return subprocess.run(["sh", "-euc", f"umask 022; {script}"], check=False).returncode

    return copy


def test_root_takes_only_what_was_sent(tmp_path: Path, copied: Callable[..., int]) -> None:
    """Pip would choose another that is newer, of who may write there but isn't root."""
    assert copied() == 0
    [wheel] = (tmp_path / "otter/wheels").iterdir()
    assert (wheel.name, wheel.read_bytes(), wheel.stat().st_mode & 0o777) == (
        "one.whl", b"one", 0o644,
    )  # fmt: skip
    assert copied() == 0, "it may be done again"
    assert sorted(path.name for path in (tmp_path / "otter").iterdir()) == ["receipt", "wheels"]


@pytest.mark.parametrize("other", ["changed", "cut", "leads elsewhere", "gone"])
def test_root_takes_nothing_that_is_not_as_it_was_sent(
    tmp_path: Path, copied: Callable[..., int], other: str
) -> None:
    path = tmp_path / "staged/one.whl"
    path.unlink()
    if other == "leads elsewhere":
        path.symlink_to("/etc/passwd")
    elif other != "gone":
        path.write_bytes(b"two" if other == "changed" else b"on")
    assert copied() != 0
    assert list((tmp_path / "otter/wheels").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "otter").iterdir()) == ["receipt", "wheels"]


PYTHON_OF_TWO = """#!/bin/sh
# As `-m venv --without-pip VENV`, and what it has made as what is there then. The first one waits.
for venv; do :; done
echo made >>made
mkdir -p "$venv/bin"
printf '#!/bin/sh\\n' >"$venv/bin/python"
chmod 755 "$venv/bin/python"
if mkdir waits 2>/dev/null; then echo >is-there; read -r _ <goes-on; fi
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("flock") and shutil.which("pgrep")), reason="no flock or pgrep here"
)
def test_who_comes_while_one_that_was_cut_goes_on_finds_what_that_makes(tmp_path: Path) -> None:
    """Else it removes an environment under the hands of who fills it."""
    program = tmp_path / "python"
    program.write_text(PYTHON_OF_TWO)
    program.chmod(0o755)
    os.mkfifo(tmp_path / "goes-on")
    goes_on = os.open(tmp_path / "goes-on", os.O_RDWR)  # which waits for nobody
    python = replace(PYTHON, path=str(program))
    done = steps.install(facts(), python, "1.0-abc", "pi", "/tmp/staged", {"p": "ab"}, "p")
    [step] = [one for one in done if one.title.startswith("make the virtual")]
    script = step.script.replace(steps.TOP, str(tmp_path))

    def make() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sh", "-euc", script], cwd=tmp_path)

    def waits(process: subprocess.Popen[bytes]) -> bool:
        words = ["pgrep", "-P", str(process.pid), "-x", "flock"]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    with make() as first:
        try:
            wait_for((tmp_path / "is-there").exists, "the first one makes it")
            other = make()
            wait_for(lambda: other.poll() is not None or waits(other), "it sees the first one")
        finally:
            os.write(goes_on, b"\n")
    other.wait()
    os.close(goes_on)
    assert (first.returncode, other.returncode) == (0, 0)
    assert (tmp_path / "made").read_text() == "made\n"
    assert (tmp_path / "1.0-abc/complete").exists()


def test_whoever_logs_in_gets_into_the_group_quoted_and_root_needs_none() -> None:
    [step] = steps.group(facts())
    assert "usermod -a -G otter 'al ice'" in step.script
    assert "al ice" in step.title
    assert "usermod" not in steps.group(facts(uid=0))[0].script


@pytest.mark.parametrize("name", ["probe.sh", "otter-agent.init"])
def test_files_beside_are_shell(name: str) -> None:
    subprocess.run(["sh", "-n"], input=steps.data(name), text=True, check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("of", ["machine add", "otter-agent unit"])
def test_systemd_takes_every_line_of_the_unit(tmp_path: Path, of: str) -> None:
    """What it doesn't know it would pass over, and only say so in a log.

    One starts it in the guest kernel: tests/kernel/test_systemd.py.
    """
    program = tmp_path / "current/bin/otter-agent"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    unit = tmp_path / "otter-agent.service"
    if of == "machine add":
        script = steps.service(facts(systemd=True), "pi").script.replace(steps.TOP, str(tmp_path))
        unit.write_text(script.split("<<'END'\n", 1)[1].split("END\n", 1)[0])
    else:
        own = files("otter_agent").joinpath("systemd", "otter-agent.service").read_text()
        unit.write_text(own.replace("@AGENT@", str(program)))

    def said() -> str:
        command = ["systemd-analyze", "verify", "--man=no", unit]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert unit.name not in said()
    assert f"{program} serve" in unit.read_text()
    unit.write_text(unit.read_text().replace("KillMode=process", "KillMode=processes"))
    assert unit.name in said()


def test_leading_to_another_version_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    for release in ("0.9-def", "1.0-abc"):
        (tmp_path / release).mkdir()
    (tmp_path / ".current.new").symlink_to("0.9-def")  # by one that was killed there
    [step, _] = steps.back(facts(), "1.0-abc", "pi")
    script = step.script.replace(steps.TOP, str(tmp_path))
    subprocess.run(["sh", "-euc", script], check=True)
    assert os.readlink(tmp_path / "current") == "1.0-abc"
    assert list((tmp_path / "0.9-def").iterdir()) == []


def test_a_removal_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    """The unit is gone already, and systemd refuses to disable what it doesn't know."""
    units, tool = tmp_path / "units", tmp_path / "systemctl"
    units.mkdir()
    tool.write_text('#!/bin/sh\n[ "$1" != disable ] || exit 1\n')
    tool.chmod(0o755)
    script = steps.stop(facts(systemd=True)).script.replace("/etc/systemd/system", str(units))
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-euc", script], check=True, env=env)
    (units / "otter-agent.service").touch()
    assert subprocess.run(["sh", "-euc", script], env=env, check=False).returncode == 1


SYSTEMCTL = """#!/bin/sh
cd "$JOURNAL"
case "$*" in
*InvocationID*) cat now ;;
"restart otter-agent")
    [ ! -e next ] || mv next now
    printf 'Failed: bad unit\\nSee more\\n' >&2
    exit 1 ;;
esac
"""
JOURNALCTL = """#!/bin/sh
for word in "$@"; do
    case $word in _SYSTEMD_INVOCATION_ID=?*) cat "$JOURNAL/of-${word#*=}" 2>/dev/null ;; esac
done
"""


@pytest.mark.parametrize(
    ("runs", "lines", "why"),
    [
        (("", ""), {}, "Failed: bad unit"),
        (("one", ""), {"one": "stopped"}, "Failed: bad unit"),  # what runs is an earlier one
        (("one", "two"), {"one": "stopped", "two": "broken on purpose"}, "broken on purpose"),
        (("", "one"), {"one": "broken on purpose"}, "broken on purpose"),
        (("one", "two"), {"one": "stopped"}, "Failed: bad unit"),  # it said nothing
    ],
)
def test_why_an_agent_does_not_start_is_told_by_it_or_by_systemd(
    tmp_path: Path, runs: tuple[str, str], lines: dict[str, str], why: str
) -> None:
    quick = "#!/bin/sh\n"
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", JOURNALCTL), ("sleep", quick)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "now").write_text(runs[0])
    if runs[1]:
        (tmp_path / "next").write_text(runs[1])
    for run, line in lines.items():
        (tmp_path / f"of-{run}").write_text(f"{line}\n")
    script = steps.service(facts(systemd=True), "pi").script
    script = script.replace("/etc/systemd/system", str(tmp_path))
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOURNAL": str(tmp_path)}
    done = subprocess.run(
        ["sh", "-euc", script], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"otter-agent does not answer: {why}\n"
