"""What of a lab's folder is whose."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from otter_ctl.lab.files import give_to_caller
from otter_ctl.lab.folder import Folder
from otter_ctl.lab.processes import wait_until
from otter_ctl.lab.ssh import machine_files


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_who_used_sudo_gets_the_key_and_nothing_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "4321")
    other = tmp_path / "shadow"
    other.touch()
    (tmp_path / "id_ed25519").touch()
    (tmp_path / "id_ed25519.pub").symlink_to(other)
    give_to_caller(Folder(tmp_path))
    assert (tmp_path / "id_ed25519").stat().st_uid == 4321
    assert other.stat().st_uid == 0


def test_what_pip_is_told_is_not_for_every_user_of_a_machine(tmp_path: Path) -> None:
    """Addresses of package indexes may have passwords in them."""
    (tmp_path / "hostkey.pub").write_text("ssh-ed25519 AAAA lab1\n")
    (tmp_path / "hostkey").write_text("secret\n")
    env = {"PIP_INDEX_URL": "https://me:word@mirror.example.org/simple"}
    files = machine_files(tmp_path, "lab1", IPv4Address("10.0.0.1"), "key", env)
    saying = {name for name, (text, _) in files.items() if "me:word" in text or "secret" in text}
    assert saying == {"ssh/sshd_config", "ssh/ssh_host_ed25519_key"}
    assert {files[name][1] for name in saying} == {0o600}


class Clock:
    """Goes while somebody sleeps, and has something happen at some time."""

    def __init__(self, at_s: float, happens: Callable[[], None]) -> None:
        self._now_s, self._at_s, self._happens = 0.0, at_s, happens

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, s: float) -> None:
        self._now_s += s
        if self._now_s - s < self._at_s <= self._now_s:
            self._happens()


def test_children_of_one_that_was_killed_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold its lock until they see that, on a slow computer seconds later."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    monkeypatch.setattr("otter_ctl.lab.folder.time", Clock(8.0, lambda: os.close(lock)))
    with Folder(tmp_path).locked():
        pass


def test_a_machine_that_is_written_to_a_slow_disk_as_it_ends_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr("otter_ctl.lab.processes.time", Clock(30.0, lambda: ended.append(True)))
    wait_until(lambda: bool(ended), "lab1 doesn't end")
