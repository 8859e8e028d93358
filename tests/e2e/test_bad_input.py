"""What users do wrong: one line that says where, what, why and what to try; never a traceback."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
from helpers.otter import BIN, Otter, wait_for

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.netns


@pytest.fixture
def idle_otter():
    """Commands only: no agent may be started by what is tried here."""
    one = Otter()
    yield one
    assert one.agent_pid is None
    assert not one.processes()
    one.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"\n[hosts.a]\ncpuu = 1\n', ":3: hosts.a.cpuu: unknown key"),
        ('name = "x"\n[hosts.a]\ncpu = nan\n', ":3: hosts.a.cpu"),
        ('name = "x"\n[hosts.a]\n[modules.m]\nhost = "b"\ncommand=["x"]\n', ":4: modules.m.host"),
        ("name = \n", ":1"),
        ("\0", ":1"),
    ],
)
def test_bad_topologies_exit_2_with_their_line(idle_otter, text, said):
    file = idle_otter.topology(text)
    for verb in ("validate", "plan", "apply"):
        done = idle_otter(verb, file, code=2)
        assert said in done.stderr
    assert idle_otter("plan", file, "--detailed-exitcode", code=1).stderr


def test_a_missing_file(idle_otter):
    for verb in ("validate", "plan", "apply"):
        assert "no-such.toml" in idle_otter(verb, "no-such.toml", code=2).stderr


def test_wrong_usage(idle_otter):
    assert "did you mean 'apply'" in idle_otter("aply", code=2).stderr
    assert idle_otter("apply", code=2).stderr
    assert idle_otter("status", "--no-such-option", code=2).stderr
    assert idle_otter("init", "Not A Name", code=2).stderr


def test_nothing_there(idle_otter):
    assert idle_otter.json("ls") == []
    for verb in (["status"], ["logs"], ["fetch"], ["events"], ["exec", "m", "--", "true"]):
        assert "no agent answers" in idle_otter(*verb, code=1).stderr
    assert "there is none" in idle_otter("destroy", "-m", "nobody", "--yes").stdout


def test_no_module_and_no_mesh_of_that_name(shared_otter):
    file = shared_otter.topology(
        'name = "x"\n[hosts.a]\n[modules.m]\ncommand = ["sleep", "99"]\nruntime = "process"\n'
    )
    shared_otter("apply", file)
    assert "there are: m" in shared_otter("logs", "nope", code=1).stderr
    assert "there are: m" in shared_otter("exec", "nope", "--", "true", code=1).stderr
    for verb in ("status", "events"):
        assert "there are: x" in shared_otter(verb, "-m", "nope", code=1).stderr


def test_a_docker_module_without_an_engine_is_refused_before_anything_is_made(shared_otter):
    file = shared_otter.topology(
        'name = "x"\n[hosts.a]\n[modules.m]\nimage = "busybox"\nruntime = "docker"\n'
    )
    for verb in ("plan", "apply"):
        done = shared_otter(verb, file, code=1)
        assert "module m: runtime docker can't be used" in done.stderr
    assert shared_otter.json("ls") == []


def test_a_plan_of_what_can_not_be_here_is_none_that_can_be_applied(shared_otter):
    other = "x86_64" if platform.machine() == "aarch64" else "arm64"
    file = shared_otter.topology(f'name = "x"\n[hosts.a]\non = {{ arch = "{other}" }}\n')
    assert "apply will refuse: host a: asks for" in shared_otter("plan", file, code=1).stderr
    shared_otter("apply", file, code=2)


def test_doctor_tells_what_is_there(shared_otter):
    report = shared_otter.json("doctor")
    checks = {check["name"]: check for check in report["checks"]}
    assert report["usable"] is True
    assert checks["runtime process"]["ok"] is True
    assert checks["runtime docker"]["ok"] is None
    assert checks["runtime docker"]["mend"]


def test_without_the_right_to_make_namespaces_it_says_what_to_do(otter):
    file = otter.topology(
        'name = "x"\n[hosts.a]\n[modules.m]\ncommand = ["true"]\nruntime = "process"\n'
    )
    dropped = "-sys_admin,-net_admin"
    done = subprocess.run(
        ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", BIN / "otterctl",
         "apply", file],
        env=otter.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "runtime process can't be used" in done.stderr
    assert "the right to make network namespaces" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no system Python")
def test_without_root_it_says_what_to_do(idle_otter):
    """As the user nobody, with a Python that every user can read."""
    python = Path("/usr/bin/python3")
    site = next(BIN.parent.glob("lib/python3*/site-packages"))
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{site}:{ROOT}"}
    file = idle_otter.topology('name = "x"\n[hosts.a]\n')
    idle_otter.root.chmod(0o755)
    done = subprocess.run(
        [python, "-m", "otter_ctl", "apply", file], user=65534, group=65534, extra_groups=[],
        cwd="/", env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "/.local/state/otter/run: Permission denied" in done.stderr  # nobody has no home
    assert "run as root, or keep everything in a folder of yours" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_has_examples_for_every_verb(idle_otter):
    from otter_ctl.cli import VERBS

    for verb in VERBS:
        shown = idle_otter(verb, "--help").stdout
        assert "Example" in shown, verb
        assert "otterctl" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(idle_otter, shell):
    assert "_OTTERCTL_COMPLETE" in idle_otter("completion", shell).stdout


def test_completion_knows_modules(shared_otter):
    file = shared_otter.topology(
        'name = "x"\n[hosts.a]\n[modules.camera]\ncommand = ["sleep", "99"]\nruntime="process"\n'
    )
    shared_otter("apply", file)
    env = {**shared_otter.env, "_OTTERCTL_COMPLETE": "bash_complete",
           "COMP_WORDS": "otterctl logs ca", "COMP_CWORD": "2"}  # fmt: skip

    def offered():
        """An answer that takes too long for a Tab key is none."""
        return subprocess.run([BIN / "otterctl"], env=env, capture_output=True, text=True).stdout

    wait_for(lambda: "camera" in offered(), "it was never offered")
