"""The launcher of the guest, from outside: exit status, output, time limit, what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CANNOT_BOOT = 125
Guest = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    """Starts `python -m tests.kernel.guest` with arguments; its control folder is in `tmp_path`."""

    def start(*args: str, **env: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.kernel.guest", "--share", str(tmp_path), *args],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


@pytest.mark.usefixtures("boots")
class TestGuest:
    def test_status_and_output_come_through(self, guest: Guest) -> None:
        script = "echo out; echo err >&2; printf 'a\\r\\n\\0b\\377'; exit 7"
        process = guest("--", "sh", "-c", script)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (7, b"out\na\r\n\0b\xff", b"err\n")

    def test_only_the_shared_folder_keeps_what_is_written(
        self, guest: Guest, tmp_path: Path
    ) -> None:
        elsewhere = f"/var/tmp/otter-{os.getpid()}"
        script = f"echo kept >{tmp_path}/kept && echo lost >{elsewhere} && cat {elsewhere}"
        out, _ = guest("--", "sh", "-c", script).communicate(timeout=120)
        assert out == b"lost\n"
        assert (tmp_path / "kept").read_text() == "kept\n"
        assert not Path(elsewhere).exists()

    def test_the_time_limit_ends_it_and_nothing_is_left(self, guest: Guest, tmp_path: Path) -> None:
        out = b""
        for limit in ("4", "15", "50"):  # the boot counts, which takes its time where it is slow
            process = guest("--limit", limit, "--", "sh", "-c", "echo started; sleep 600")
            out, err = process.communicate(timeout=120)
            assert process.returncode == 124
            assert err == f"guest: over the time limit of {limit} s\n".encode()
            assert list(tmp_path.iterdir()) == []
            if out:
                break
        assert out == b"started\n"

    def test_interrupted_it_leaves_nothing(self, guest: Guest, tmp_path: Path) -> None:
        process = guest("--", "sh", "-c", "echo started; sleep 600")
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)  # as when a terminal's Ctrl-C reaches its parent too
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (130, b"guest: interrupted\n")
        assert list(tmp_path.iterdir()) == []


def test_an_unusable_cache_is_named(guest: Guest) -> None:
    process = guest("--", "true", OTTER_CACHE="/proc/nowhere")
    _, err = process.communicate(timeout=120)
    assert process.returncode == CANNOT_BOOT
    assert err.startswith(b"guest: cannot use the cache /proc/nowhere/kernel: ")
    assert err.count(b"\n") == 1


def test_what_it_cannot_fetch_is_named(guest: Guest, tmp_path: Path) -> None:
    """One line and status 125, no traceback."""
    process = guest("--", "true", PATH="/nonexistent", OTTER_CACHE=str(tmp_path / "cache"))
    _, err = process.communicate(timeout=120)
    assert process.returncode == CANNOT_BOOT
    assert err.startswith(b"guest: cannot fetch user-mode-linux: ")
    assert err.count(b"\n") == 1


def test_tests_of_the_machine_come_after_those_of_the_guest() -> None:
    """What pytest set up for one of them would else stay until a test elsewhere fails on it."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/kernel"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    names = [line for line in done.stdout.splitlines() if "::" in line]
    here = ["test_launcher.py" in name or "test_beside.py" in name for name in names]
    assert len(set(here)) == 2
    assert here == sorted(here)
