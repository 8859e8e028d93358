"""What a user's own files say of a machine before it is dialled."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from otter_ctl.ssh import Road, _Client
from otter_ctl.topology.model import Machine

KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


async def known(target: str) -> bool:
    client = _Client()
    await Road(Machine(name="pi", ssh=target))._options(client)
    return client.known


@pytest.mark.parametrize("config", [None, "", "Host other\n  User bob\n"])
async def test_without_a_word_of_known_hosts_the_users_own_are_read(home, config) -> None:
    """As for most: nobody writes UserKnownHostsFile into ~/.ssh/config."""
    if config is not None:
        (home / "config").write_text(config)
    assert not await known("ada@pi.example.org")
    (home / "known_hosts").write_text(f"pi.example.org {KEY}\n")
    assert await known("ada@pi.example.org")
    assert not await known("ada@other.example.org")


async def test_a_named_file_is_read_instead(home) -> None:
    (home / "known_hosts").write_text(f"pi.example.org {KEY}\n")
    (home / "none").write_text("")
    (home / "config").write_text(f"UserKnownHostsFile {home / 'none'}\n")
    assert not await known("pi.example.org")
