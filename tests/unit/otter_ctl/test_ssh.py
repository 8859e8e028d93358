"""What a user's own files say of a machine before it is dialled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import asyncssh
import pytest

from otter_ctl import dialling, knownhosts
from otter_ctl.dialling import Client, Dial, Hop, jumps
from otter_ctl.errors import MachineUnreachable
from otter_ctl.topology.model import Machine

KEY, OTHER = (
    asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip() for _ in "ab"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


async def known(target: str) -> bool:
    client = Client()
    dial = Dial(Machine(name="pi", ssh=target))
    options = await dial.options(client, dial.hop)
    assert options.known_hosts is not None  # asyncssh would verify nothing
    return client.known


@pytest.mark.parametrize("config", [None, "", "Host other\n  User bob\n"])
async def test_without_a_word_of_known_hosts_the_users_own_are_read(
    home: Path, config: str | None
) -> None:
    """As for most: nobody writes UserKnownHostsFile into ~/.ssh/config."""
    if config is not None:
        (home / "config").write_text(config)
    assert not await known("ada@pi.example.org")
    (home / "known_hosts").write_text(f"pi.example.org {KEY}\n")
    assert await known("ada@pi.example.org")
    assert not await known("ada@other.example.org")


async def test_a_named_file_is_read_instead(home: Path) -> None:
    (home / "known_hosts").write_text(f"pi.example.org {KEY}\n")
    (home / "none").write_text("")
    for named in (home / "none", home / "not-there", "none"):
        (home / "config").write_text(f"UserKnownHostsFile {named}\n")
        assert not await known("pi.example.org")


@pytest.mark.parametrize("name", ["known_hosts", "known_hosts2", "system", "system2"])
async def test_all_files_that_ssh_reads_are_read(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An administrator's are in /etc/ssh, whatever the user's configuration names as its own."""
    for system in ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"):
        assert system in knownhosts.SYSTEM_HOSTS
    system_hosts = (str(home / "system"), str(home / "system2"))
    monkeypatch.setattr(knownhosts, "SYSTEM_HOSTS", system_hosts)
    assert not await known("pi.example.org")
    (home / name).write_text(f"pi.example.org {KEY}\n")
    assert await known("pi.example.org")
    of_system = name.startswith("system")
    for asked, found in (
        ("UserKnownHostsFile none", of_system),
        ("GlobalKnownHostsFile none", not of_system),
        (f"GlobalKnownHostsFile {home}/not-there", not of_system),
    ):
        (home / "config").write_text(f"{asked}\n")
        assert await known("pi.example.org") is found, asked


async def test_for_a_named_file_that_is_not_there_the_users_own_is_not_read(home: Path) -> None:
    """Asyncssh would read it for anything that is empty."""
    (home / "known_hosts").write_text(f"pi.example.org {KEY}\n")
    for named in (home / "not-there", "none"):
        (home / "config").write_text(f"UserKnownHostsFile {named}\n")
        dial = Dial(Machine(name="pi", ssh="pi.example.org"))
        options = await dial.options(Client(), dial.hop)
        assert options.known_hosts


async def test_known_hosts_are_read_once_and_again_when_they_change(home: Path) -> None:
    """Of a hundred machines each dial would read a hundred keys, twice."""
    hosts = home / "known_hosts"
    hosts.write_text(f"pi.example.org {KEY}\n")

    async def read(host: str) -> object:
        dial = Dial(Machine(name="pi", ssh=host))
        options = await dial.options(Client(), dial.hop)
        dialled = await asyncssh.SSHClientConnectionOptions.construct(options)  # as `connect` does
        assert dialled.known_hosts is options.known_hosts
        return options.known_hosts

    first = await read("pi.example.org")
    assert await read("other.example.org") is first
    hosts.write_text(f"pi.example.org {KEY}\nother.example.org {KEY}\n")
    assert await read("other.example.org") is not first
    assert await known("other.example.org")


async def test_known_hosts_that_cannot_be_understood_are_told(home: Path) -> None:
    """With the file's name: it is one of four."""
    for path in (home / "known_hosts2", home / "known_hosts"):
        path.write_text("rubbish\n")
        dial = Dial(Machine(name="pi", ssh="pi.example.org"))
        with pytest.raises(MachineUnreachable, match=f"{path}: Invalid known hosts entry: rubbish"):
            await dial.connect()


async def test_a_comment_in_another_encoding_keeps_nobody_away(home: Path) -> None:
    (home / "known_hosts").write_bytes(f"# M\xfcller\npi.example.org {KEY}\n".encode("latin-1"))
    assert await known("pi.example.org")


async def shown_another_key(dial: Dial) -> str:
    """What is advised then."""
    client = Client()
    await dial.options(client, dial.hop)
    error = dial._untrusted(dial.hop, client, "Host key is not trusted")
    assert "its host key has changed" in error.args[0]
    return error.hint


async def test_the_file_is_named_from_which_a_changed_key_has_to_go(home: Path) -> None:
    """And the name that it has there: by itself, ssh-keygen takes one file, and the very name."""
    config = home / "my config"
    config.write_text("Port 2222\n")
    dial = Dial(Machine(name="pi", ssh="pi.example.org", ssh_config=str(config)))
    (home / "known_hosts").write_text(f"[pi.example.org]:2222 {KEY}\n")
    hint = await shown_another_key(dial)
    assert hint == (
        "somebody may be in between; if its key was replaced:"
        f" ssh-keygen -R '[pi.example.org]:2222', then `ssh -F '{config}' pi.example.org` once"
    )
    (home / "known_hosts").write_text(f"pi.example.org {KEY}\n")
    (home / "known_hosts2").write_text(f"pi.example.org {KEY}\n")
    forgets = "ssh-keygen -R 'pi.example.org'"
    assert f": {forgets} and {forgets} -f {home}/known_hosts2, then" in await shown_another_key(
        dial
    )


def test_on_windows_what_is_advised_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its OpenSSH has no ssh-copy-id, and its shells don't know each other's quotes."""
    options = asyncssh.SSHClientConnectionOptions(config=())
    config = r"C:\Users\ann b\config"
    dial = Dial(Machine(name="pi", ssh="pi", ssh_config=config))
    assert f"`ssh-copy-id -F '{config}' pi` brings" in dial._no_key(dial.hop, options)
    monkeypatch.setattr(dialling, "WINDOWS", True)
    told = dial._no_key(dial.hop, options)
    assert "ssh-copy-id" not in told
    assert "authorized_keys" in told
    assert f'`ssh -F "{config}" pi`' in told


def test_the_computers_files_are_never_looked_for_in_the_current_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PROGRAMDATA", raising=False)
    assert knownhosts._system_folder("win32") == r"C:\ProgramData/ssh"
    monkeypatch.setenv("PROGRAMDATA", r"D:\Data")
    assert knownhosts._system_folder("win32") == r"D:\Data/ssh"


async def matched(host: str, address: str, port: int | None) -> tuple[list[str], list[str]]:
    """Keys that asyncssh would take once it is connected, and those that it would not."""
    dial = Dial(Machine(name="pi", ssh="pi.example.org"))
    options = await dial.options(Client(), dial.hop)
    trusted, _, revoked, *_ = asyncssh.match_known_hosts(options.known_hosts, host, address, port)
    return written(trusted), written(revoked)


def written(keys: Sequence[asyncssh.SSHKey]) -> list[str]:
    return [key.export_public_key().decode().strip() for key in keys]


@pytest.mark.parametrize("port", [None, 2222])
@pytest.mark.parametrize("line", ["10.0.0.3 {}", "10.0.0.* {}", "[10.0.0.3]:2222 {}", "lab2, {}"])
async def test_whose_address_it_is_says_nothing_of_who_was_meant(
    home: Path, line: str, port: int | None
) -> None:
    """Else a machine that was once visited by its address could stand in for any other."""
    (home / "known_hosts").write_text(line.format(KEY))
    assert await matched("lab1", "10.0.0.3", port) == ([], [])
    (home / "known_hosts").write_text(f"{line.format(KEY)}\nlab1 {OTHER}\n")
    assert await matched("lab1", "10.0.0.3", port) == ([OTHER], [])


async def test_an_address_that_is_what_was_meant_is_a_name(home: Path) -> None:
    (home / "known_hosts").write_text(f"10.0.0.3 {KEY}\n")
    assert await matched("10.0.0.3", "10.0.0.3", None) == ([KEY], [])
    assert await matched("10.0.0.3", "10.0.0.3", 2222) == ([KEY], [])


async def test_a_key_that_is_revoked_for_the_port_is_revoked_whatever_the_bare_name_has(
    home: Path,
) -> None:
    lines = f"@revoked [lab1]:2222 {KEY}\nlab1 {KEY}\n"
    (home / "known_hosts").write_text(lines)
    assert await matched("lab1", "", 2222) == ([KEY], [KEY])  # asyncssh asks for revoked ones first
    assert await matched("lab1", "", None) == ([KEY], [])
    (home / "known_hosts").write_text(f"{lines}[lab1]:2222 {OTHER}\n")
    assert await matched("lab1", "", 2222) == ([OTHER], [KEY])


def test_jump_hosts_are_read_as_ssh_writes_them() -> None:
    assert jumps("gate") == [Hop("gate", "gate")]
    assert jumps("ada@gate:2222, [fe80::1]:22") == [
        Hop("ada@gate", "gate", "ada", 2222), Hop("fe80::1", "fe80::1", "", 22),
    ]  # fmt: skip
    assert jumps("ssh://ada@fe80::1") == [Hop("ada@fe80::1", "fe80::1", "ada")]
    assert jumps("none") == jumps(None) == jumps("") == []


async def test_the_way_to_a_jump_host_is_let_go_where_the_next_step_cannot_be(home: Path) -> None:
    class Way(asyncssh.SSHClientConnection):
        aborted = False

        def __init__(self) -> None:
            """To nowhere."""

        def abort(self) -> None:
            self.aborted = True

    (home / "config").write_text("Host inner\n  Port none\n")
    dial, way = Dial(Machine(name="pi", ssh="inner")), Way()
    with pytest.raises(MachineUnreachable):
        await dial._to(dial.hop, way, 1)
    assert way.aborted
