"""NVIDIA's MPS, by a stand-in for its daemon: started, asked and ended by the agent alone."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import mps as standin
from helpers.otter import wait_for

from otter_agent import api
from otter_agent.gpu.granting import Coming, Grants
from otter_agent.gpu.mps import PID_FILE, Mps
from otter_agent.layout import Layout


@pytest.fixture
def mps(tmp_path: Path):
    made = Mps(tmp_path / "mps", standin.PATH)
    yield made
    made.end()
    assert made.pid() is None


def test_it_is_started_once_and_ended_with_its_folders(mps: Mps):
    assert mps.trouble() == "its control daemon doesn't run"
    assert mps.start() == ""
    pid = mps.pid()
    assert pid is not None
    assert mps.start() == ""
    assert mps.pid() == pid
    mps.end()
    assert mps.pid() is None
    assert not mps.pipe.parent.exists()


def test_the_next_agent_finds_it(mps: Mps, tmp_path: Path):
    assert mps.start() == ""
    other = Mps(tmp_path / "mps", standin.PATH)
    assert other.pid() == mps.pid()
    assert other.start() == ""


def test_one_that_was_killed_is_told_and_another_takes_its_place(mps: Mps):
    assert mps.start() == ""
    pid = mps.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: mps.pid() is None, "the killed daemon")
    assert mps.trouble() == "its control daemon doesn't run"
    assert mps.start() == ""
    assert mps.pid() not in (None, pid)


def test_a_pid_of_another_is_neither_asked_nor_ended(mps: Mps):
    mps.pipe.mkdir(parents=True)
    (mps.pipe / PID_FILE).write_text(str(os.getpid()))
    assert mps.trouble() == "its control daemon doesn't run"
    mps.end()  # it is us


def test_why_it_does_not_begin_is_its_own_word(mps: Mps, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MPS_STANDIN", "refuses")
    assert mps.start().endswith("Failed to initialize MPS: no CUDA-capable device is detected")


def _given(mps: Mps, folder: Path, user: str) -> api.GpuGrant:
    """What a module of that user's is given, of a machine with this MPS."""
    layout = Layout.at(folder / "agent")
    grants = Grants(layout, mps, lambda: True)
    grants.facts = (api.GpuFact(index=0, uuid="GPU-a", memory_bytes=1 << 34),)
    module = api.ModuleSpec(
        name="x", host="h", address="100.64.0.2", runtime="docker", gpu=api.GpuAsk(), gpu_share=0.5
    )
    assert grants.give("m", module, Coming("nvidia", user=user)) is not None
    (grant,) = grants.all()
    return grant


@pytest.mark.parametrize("user", ["", "root", "0:0", "1000", "1000:1000", "app"])
def test_clients_of_all_users_are_served_beside_each_other(mps: Mps, tmp_path: Path, user: str):
    grant = _given(mps, tmp_path, user)
    assert (grant.memory, grant.time) == ("mps", "mps")
    assert mps.serves_all()


@pytest.mark.parametrize(
    ("user", "time"),
    [("", "mps"), ("root", "mps"), ("0:0", "mps"), ("1000", "lease"), ("app:app", "lease")],
)
def test_one_that_serves_one_user_has_roots_clients_alone(
    mps: Mps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, time: str
):
    """Another's would wait in its first call of CUDA, unseen, until all of root's have ended."""
    monkeypatch.setenv("MPS_STANDIN", "old")
    grant = _given(mps, tmp_path, user)
    assert grant.time == time
    assert (f"its image runs as user {user}" in grant.why) == (time == "lease")
    assert mps.pid() is not None
    assert not Mps(tmp_path / "mps", standin.PATH).serves_all()  # the next agent's


def test_without_its_program_that_is_a_plain_fact(tmp_path: Path):
    nowhere = Mps(tmp_path / "mps", str(tmp_path))
    assert nowhere.lack() == nowhere.start() == "nvidia-cuda-mps-control isn't installed"
    nowhere.end()


@pytest.mark.parametrize("replaced", ["fifo", "endless", "gone"])
def test_what_a_module_does_to_its_files_hides_no_daemon_and_holds_nobody_up(mps: Mps, replaced):
    """Modules may write where the pipes are."""
    assert mps.start() == ""
    pid = mps.pid()
    assert pid is not None
    file = mps.pipe / PID_FILE
    file.unlink()
    if replaced == "fifo":
        os.mkfifo(file)
    elif replaced == "endless":
        file.symlink_to("/dev/zero")
    assert mps.pid() == pid
    (mps.pipe.parent / "pid").unlink()  # of an agent that was killed before it had written it
    assert mps.pid() is None
    (mps.pipe.parent / "pid").write_text(str(pid))


def test_two_that_start_it_at_once_start_one(mps: Mps):
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: mps.start(), range(4))) == [""] * 4
    assert mps.pid() is not None
    assert mps.trouble() == ""
