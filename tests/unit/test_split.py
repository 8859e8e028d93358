"""Sessions whose tests are shared out among processes. Each is a pytest of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.otter import wait_for

HELPERS = Path(__file__).parents[1]
PLUGINS = ("helpers.elsewhere", "helpers.split", "no:cacheprovider", "no:asyncio")
PROCESSORS = os.sched_getaffinity(0)
"""Where this session may run; beside others it keeps to one (`--beside`) while its tests run."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(len(PROCESSORS) < 2, reason="one processor shares nothing"),
]

TOGETHER = """\
import os
from pathlib import Path
import pytest
from helpers.otter import wait_for

HERE = Path(__file__).parent

@pytest.fixture(scope="module")
def first():
    yield os.getpid()
    (HERE / f"{Path(__file__).stem}-down").touch()

@pytest.mark.parametrize("number", range(3))
def test_both_are_at_work_and_each_file_is_whole(first, number):
    assert os.getpid() == first
    (HERE / f"{Path(__file__).stem}-{first}").touch()
    wait_for(lambda: len([*HERE.glob("test_[ab]-[0-9]*")]) == 2, "the other file waits for this")
"""
OUTCOMES = """\
import os, sys, warnings
import pytest

def test_passes(capfd):
    os.write(1, b"for capfd")
    assert capfd.readouterr().out == "for capfd"

def test_fails():
    print("what was printed")
    assert 1 == 2

@pytest.mark.skip(reason="not today")
def test_is_skipped(): ...

@pytest.mark.xfail
def test_is_bad(): assert not True

@pytest.fixture
def broken():
    yield
    raise OSError("on the way down")

def test_is_left_badly(broken): ...

def test_warns(): warnings.warn("look out")

def test_has_a_folder(tmp_path): (tmp_path / "x").touch()
"""


@pytest.fixture
def session(tmp_path: Path):
    """Runs a session over files with these texts, until it ends."""
    temporary = tmp_path / "t"
    temporary.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    started: list[subprocess.Popen[str]] = []

    def run(files: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        done = start(files, *words)
        out, err = done.communicate(timeout=60)
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def start(files: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
        for name, text in files.items():
            (tmp_path / f"test_{name}.py").write_text(text)
        more = {"TMPDIR": str(temporary), "PYTHONPATH": str(HELPERS)}
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *(f"-p{name}" for name in PLUGINS), "--split", *words],
            cwd=tmp_path, env=os.environ | more, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, PROCESSORS),
        )  # fmt: skip
        started.append(process)
        return process

    run.start = start
    run.folder = tmp_path
    run.temporary = temporary
    yield run
    for process in started:
        with process:
            process.kill()


def test_files_run_beside_each_other_each_in_one_process(session) -> None:
    done = session({"a": TOGETHER, "b": TOGETHER})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout.splitlines()[-1]
    for name in ("a", "b"):
        assert re.search(rf"^test_{name}\.py \.\.\. ", done.stdout, re.MULTILINE), done.stdout
        assert (session.folder / f"test_{name}-down").exists()
    assert done.stderr == ""


def test_what_becomes_of_a_test_is_told_as_in_one_process(session) -> None:
    words = ("-ra", "--durations=2", "-vv")
    done = session({"a": OUTCOMES, "b": OUTCOMES}, *words)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    counts = "2 failed, 8 passed, 2 skipped, 2 xfailed, 2 warnings, 2 errors"
    assert counts in done.stdout.splitlines()[-1]
    for said in (
        "assert 1 == 2", "what was printed", "OSError: on the way down", "slowest 2 durations",
        "UserWarning: look out", "not today", "test_b.py::test_passes PASSED",
    ):  # fmt: skip
        assert said in done.stdout
    assert "for capfd" not in done.stdout
    (user,) = session.temporary.iterdir()
    kept = [path.name for path in user.iterdir() if not path.is_symlink()]
    assert kept == ["pytest-0"]  # one of the session, whatever has made a folder in it
    assert not (user / "pytest-0" / ".lock").exists()


@pytest.mark.parametrize(("how", "status"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 2)", 130)])
def test_a_process_that_dies_fails_the_tests_in_its_hands(session, how: str, status: int) -> None:
    dies = f"import os\ndef test_1(): ...\ndef test_2(): {how}\ndef test_3(): ...\n"
    done = session({"a": dies, "b": "def test_4(): ...\n", "c": "def test_5(): ...\n"}, "-v")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "3 passed, 2 errors" in done.stdout.splitlines()[-1], done.stdout
    assert "test_a.py::test_1 PASSED" in done.stdout
    assert done.stdout.count(f"the process that was to run it has ended, status {status}") >= 2


def test_no_test_is_forgotten_when_all_processes_have_died(session) -> None:
    dies = "import os\ndef test_dies(): os.kill(os.getpid(), 9)\n"
    many = {f"{n:03}": dies for n in range(len(os.sched_getaffinity(0)) + 3)}
    done = session(many)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert f"{len(many)} errors" in done.stdout.splitlines()[-1]
    assert done.stdout.count("no process was left to run it") >= 3


def test_what_goes_wrong_after_all_tests_fails_the_last(session) -> None:
    fixture = "import pytest\n@pytest.fixture(scope='session')\ndef one():\n    yield\n"
    wrong = f"{fixture}    raise OSError('it stays')\ndef test_it(one): ...\n"
    done = session({"a": wrong, "b": "def test_b(): ...\n"})
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "2 passed, 1 error" in done.stdout.splitlines()[-1]
    assert "OSError: it stays" in done.stderr


def test_a_session_that_is_to_end_at_a_failure_takes_no_more_files(session) -> None:
    fails = "import time\ndef test_fails(): assert False\n"
    more = {f"z{n:03}": "import time\ndef test_z(): time.sleep(0.02)\n" for n in range(100)}
    done = session({"a": fails, **more}, "-x")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    (passed,) = re.findall(r"(\d+) passed", done.stdout) or ["0"]
    assert int(passed) < len(more)
    assert "stopping after 1 failures" in done.stdout


@pytest.mark.parametrize("to_all", [True, False])
def test_one_that_is_interrupted_takes_its_processes_along(session, to_all: bool) -> None:
    waits = "import os, time\nfrom pathlib import Path\nhere = Path(__file__)\ndef test_waits():\n"
    waits += "    first, go = os.getppid(), here.with_name('go')\n"
    waits += "    try:\n        here.with_suffix('.up').touch()\n"
    waits += "        while os.getppid() == first and not go.exists(): time.sleep(0.01)\n"
    waits += "    finally: here.with_suffix('.down').touch()\n"
    process = session.start({"a": waits, "b": waits})
    wait_for(lambda: len([*session.folder.glob("*.up")]) == 2, "both are at work")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    for pid in [process.pid, *map(int, children if to_all else [])]:
        os.kill(pid, signal.SIGINT)
    if not to_all:
        (session.folder / "go").touch()  # whom nobody interrupts ends after its test
    out, err = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out + err
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert len(list(session.folder.glob("*.down"))) == 2  # each was left in order


def test_one_process_does_where_there_is_one_file(session) -> None:
    alone = "import multiprocessing as m\ndef test_it(): assert m.parent_process() is None\n"
    done = session({"a": alone})
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_that_cannot_be_read_is_told_before_any_test_runs(session) -> None:
    done = session({"a": "import nothing.such\n", "b": "def test_b(): ...\n", "c": "\n"})
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert "1 error during collection" in done.stdout
