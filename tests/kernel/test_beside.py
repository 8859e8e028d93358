"""Sessions in which tests run beside others: that they do, and that nothing is left however one
ends. Each is a pytest of its own, over the files of helpers/sessions and one test of the guest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.otter import command_line, wait_for

ROOT = Path(__file__).parents[2]
OF_THE_GUEST = "tests/kernel/test_guest.py::test_cgroup_v2_has_the_controllers"
TIMED_THERE = "tests/kernel/test_guest.py::test_netem_delays_packets"
FOLDER = "tests/helpers/sessions"
SESSIONS = [f"{FOLDER}/{name}.py" for name in ("timed", "aside", "untimed")]
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        len(os.sched_getaffinity(0)) < 2, reason="on one processor nothing runs beside"
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a session and all beside it have their files; a short path, for Unix sockets."""
    made = tmp_path / "t"
    made.mkdir()
    return made


def session(
    folder: Path, *words: str, until: str, end: str, files: Sequence[str] = SESSIONS
) -> subprocess.CompletedProcess[str]:
    """Its first test waits for a file that what is beside makes, and then ends so."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--beside"]
    more = {"TMPDIR": str(folder), "OTTER_SESSION_UNTIL": until, "OTTER_SESSION_END": end}
    return subprocess.run(
        [*command, *words, *files], cwd=ROOT, env={**os.environ, **more}, text=True,
        stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=280,
    )  # fmt: skip


def processes(folder: Path) -> list[int]:
    """Lanes, what they have started, and guests."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if any(str(folder) in word for word in command_line(pid))]


@pytest.mark.usefixtures("boots")
def test_what_judges_no_time_runs_beside_the_guest_and_all_else_after_it(folder: Path) -> None:
    words = [TIMED_THERE, OF_THE_GUEST, "--durations=1"]
    done = session(folder, *words, until="otter-guest-*/booted", end="passed")
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.split("::")[1].split()[0] for line in done.stdout.splitlines() if "PASSED" in line]
    in_guests = [test.partition("::")[2] for test in (OF_THE_GUEST, TIMED_THERE)]
    assert told == ["test_untimed", in_guests[0], "test_aside", in_guests[1], "test_timed"]
    assert "s tests/" in done.stdout.partition("= time by file =")[2]
    assert "5 passed" in done.stdout.splitlines()[-1]
    assert processes(folder) == []
    assert list(folder.iterdir()) == []


def test_a_process_beside_that_fails_by_itself_fails_the_session(folder: Path) -> None:
    done = session(folder, until="otter-beside-*/000/reports", end="passed badly")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "the aside's pytest ended, status 7" in done.stdout
    assert "3 passed, 1 error" in done.stdout.splitlines()[-1]


def test_what_judges_time_has_all_processors_also_where_nothing_runs_beside(folder: Path) -> None:
    done = session(folder, until="", end="passed", files=[f"{FOLDER}/alone.py"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_wide_runs_beside_on_all_processors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_them = ",".join(map(str, os.sched_getaffinity(0)))
    monkeypatch.setenv("OTTER_SESSION_PROCESSORS", all_of_them)
    done = session(folder, until="", end="passed", files=[f"{FOLDER}/wide.py"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("beside", "end", "status"),
    [
        ("guest", "interrupted", pytest.ExitCode.INTERRUPTED),
        ("aside", "failed", pytest.ExitCode.TESTS_FAILED),
        ("aside", "killed", -signal.SIGKILL),
    ],
)
def test_a_session_that_ends_early_takes_what_runs_beside_it_along(
    folder: Path, request: pytest.FixtureRequest, beside: str, end: str, status: int
) -> None:
    words, until = ["-x"], "made"
    if beside == "guest":
        request.getfixturevalue("boots")
        words, until = ["-x", OF_THE_GUEST], "otter-guest-*/booted"
    done = session(folder, *words, until=until, end=end)
    assert done.returncode == status, done.stdout + done.stderr
    assert "test_timed PASSED" not in done.stdout
    if end == "killed":  # nobody has waited for their end
        wait_for(lambda: not processes(folder), "they end")
    assert processes(folder) == []
    jobs = "otter-beside-*" if end == "killed" else ""
    assert [path.name for path in folder.iterdir() if not path.match(jobs or "-")] == []
