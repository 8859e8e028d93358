"""What of a lab's folder is whose."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from otter_ctl.lab.files import give_to_caller
from otter_ctl.lab.folder import Folder
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
