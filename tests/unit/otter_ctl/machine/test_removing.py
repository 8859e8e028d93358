"""What is done about meshes where OTTER is removed: asked for, and seen to be possible first."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from otter_ctl.errors import RemoteError
from otter_ctl.machine import steps
from otter_ctl.machine.facts import Facts, parse
from otter_ctl.machine.installing import plan_remove
from otter_ctl.machine.removing import Removal, around, installed
from otter_ctl.machine.steps import TOP, Step

STOP = Step("stop", "echo stop\n")
SAYS = """#!/bin/sh
case $* in
*--help) exit 0 ;;
*--check) [ ! -e "$0.left" ] || { echo "otter-agent: meshes are left here: one" >&2; exit 1; } ;;
esac
echo "$*"
"""
OLD = """#!/bin/sh
echo "otter-agent: error: invalid choice: 'sweep'" >&2; exit 2
"""


def facts(said: str = "") -> Facts:
    found = parse(f"user=root\nuid=0\nsystem=Linux\nroot=root\nrelease=1.0-abc\n{said}end=yes\n")
    assert found is not None
    return found


def titles(removal: Removal) -> list[str]:
    return [step.title for step in around(removal, STOP, installed)]


NONE_THERE = "see that no meshes are there"


def test_only_what_is_to_go_is_ended() -> None:
    images = "remove the images that OTTER built there"
    assert titles(Removal("pi")) == [NONE_THERE, "stop", images]
    assert titles(Removal("pi", images=False)) == [NONE_THERE, "stop"]
    unheard = f"{NONE_THERE}, as its agent doesn't answer"
    left = "remove what is left of meshes that ended"
    assert titles(Removal("pi", None)) == [unheard, "stop", f"{left}, and {images}"]
    assert titles(Removal("pi", None, images=False)) == [unheard, "stop", left]
    assert "otterctl machine check pi" in around(Removal("pi", None), STOP, installed)[0].hint
    assert titles(Removal("pi", ("one", "two"), force=True, images=False)) == [
        "stop", "end the meshes there, with all they have: one, two",
    ]  # fmt: skip
    for meshes in (None, ()):
        forced = Removal("pi", meshes, force=True, images=False)
        assert titles(forced) == ["stop", "end all meshes that are left there"]


def test_without_an_engine_no_images_are_looked_for() -> None:
    assert not any("images" in s.title for s in plan_remove(facts(), Removal("pi")).steps)
    done = plan_remove(facts("docker=24.0\n"), Removal("pi")).steps
    assert any("images" in s.title for s in done)


def by_hand() -> Facts:
    """An agent that answers or not, and nothing of `machine add`."""
    found = parse("user=root\nroot=root\nsystem=Linux\nend=yes\n")
    assert found is not None
    return found


def test_an_agent_of_another_way_is_left_alone() -> None:
    plan_remove(facts(), Removal("pi", ("one",), force=True))
    with pytest.raises(RemoteError, match="wasn't installed by otterctl machine"):
        plan_remove(by_hand(), Removal("pi", ("one",), force=True))


@pytest.mark.parametrize("meshes", [None, ()])
@pytest.mark.parametrize("force", [False, True])
def test_one_that_has_no_mesh_or_does_not_say_is_left_alone_too(
    meshes: tuple[str, ...] | None, force: bool
) -> None:
    removal = Removal("pi", meshes, force)
    assert plan_remove(by_hand(), removal).steps[0] == steps.own("pi")
    assert steps.own("pi") not in plan_remove(facts(), removal).steps


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a machine does whose root is a folder."""
    for top in ("/opt/", "/var/", "/etc/", "/run/", "/usr/local/"):
        script = script.replace(top, f"{folder}{top}")
    return subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "there", ["var/lib/otter", "etc/systemd/system/otter-agent.service", "etc/init.d/otter-agent"]
)
def test_what_add_did_is_told_by_its_receipt(tmp_path: Path, there: str) -> None:
    script = steps.own("pi").script
    assert shell(script, tmp_path).returncode == 0, "nothing is there"
    (tmp_path / there).mkdir(parents=True)
    done = shell(script, tmp_path)
    assert done.returncode == 1
    assert (
        f"wasn't installed by otterctl machine add, or is one --via docker: {tmp_path / there}"
        in (done.stderr)
    )
    (tmp_path / "opt/otter").mkdir(parents=True)
    (tmp_path / "opt/otter/receipt").touch()
    assert shell(script, tmp_path).returncode == 0


def test_the_receipt_goes_last(tmp_path: Path) -> None:
    """A removal that is cut can be done again."""
    script = steps.remove()[0].script
    for name in ("opt/otter/wheels", "opt/otter/python", "var/lib/otter", "run/otter"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "opt/otter/receipt").touch()
    cut = script.replace(f"rm -rf {TOP}\n", "exit 9\n")
    assert shell(cut, tmp_path).returncode == 9
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*otter*/*")] == [
        "opt/otter/receipt"
    ]
    for _ in range(2):
        assert shell(script, tmp_path).returncode == 0
        assert list(tmp_path.rglob("*otter*")) == []


def do(top: Path, removal: Removal) -> tuple[list[str], str]:
    """What is printed over there until a step fails, and with which word it does."""
    said: list[str] = []
    for step in around(removal, STOP, installed):
        script = step.script.replace(TOP, str(top))
        done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=False)
        said += done.stdout.splitlines()
        if done.returncode:
            return said, done.stderr.strip().rpartition("\n")[2]
    return said, ""


def program(top: Path, text: str) -> Path:
    path = top / "1.0-abc/bin/otter-agent"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)
    os.symlink("1.0-abc", top / "current")
    return path


def test_the_agents_own_program_does_it_once_it_has_ended(tmp_path: Path) -> None:
    assert do(tmp_path, Removal("pi", None)) == (["stop"], "")  # nothing was ever installed
    there = program(tmp_path, SAYS)
    looked = "sweep --check"
    for meshes in ((), None):
        assert do(tmp_path, Removal("pi", meshes)) == (
            [looked, looked, "stop", "sweep --images"],
            "",
        )
    assert do(tmp_path, Removal("pi", images=False)) == ([looked, looked, "stop"], "")
    removal = Removal("pi", ("one",), force=True, images=False)
    assert do(tmp_path, removal) == (["stop", "sweep"], "")
    there.with_suffix(".left").touch()
    assert do(tmp_path, Removal("pi", None)) == ([], "otter-agent: meshes are left here: one")
    for meshes in ((), None):
        assert do(tmp_path, Removal("pi", meshes, force=True))[0] == ["stop", "sweep --images"]


@pytest.mark.parametrize("images", [True, False])
def test_a_mesh_that_came_while_it_asked_is_not_ended(tmp_path: Path, images: bool) -> None:
    """Somebody applies one while whoever removes the machine thinks, or types a password."""
    there = program(tmp_path, SAYS)
    there.with_suffix(".left").touch()
    why = "otter-agent: meshes are left here: one"
    assert do(tmp_path, Removal("pi", images=images)) == ([], why)
    stop = around(Removal("pi", images=images), STOP, installed)[1]
    script = stop.script.replace(TOP, str(tmp_path))  # it came since even that was seen
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", why)


@pytest.mark.parametrize("text", [OLD, "#!/nowhere/python\n"])
def test_one_that_cannot_do_it_is_told_of_before_anything_is_ended(
    tmp_path: Path, text: str
) -> None:
    program(tmp_path, text)
    said, why = do(tmp_path, Removal("pi", ("one",), force=True))
    assert said == []
    assert why == "the OTTER there is an earlier one, or broken: first otterctl machine add pi"
    assert do(tmp_path, Removal("pi", images=False)) == ([], why)  # --keep-images


def test_one_that_is_gone_is_a_broken_one(tmp_path: Path) -> None:
    """`current` leads nowhere: what it kept is still there."""
    program(tmp_path, SAYS).parents[1].rename(tmp_path / "elsewhere")
    for removal in (Removal("pi", None), Removal("pi", None, force=True)):
        said, why = do(tmp_path, removal)
        assert said == []
        assert "an earlier one, or broken: first otterctl machine add pi" in why
