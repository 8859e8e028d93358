"""What of a lab's folder is whose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otter_ctl.lab.lab import Lab


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_who_used_sudo_gets_the_key_and_nothing_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "4321")
    other = tmp_path / "shadow"
    other.touch()
    (tmp_path / "id_ed25519").touch()
    (tmp_path / "id_ed25519.pub").symlink_to(other)
    Lab(tmp_path)._give_to_caller()
    assert (tmp_path / "id_ed25519").stat().st_uid == 4321
    assert other.stat().st_uid == 0
