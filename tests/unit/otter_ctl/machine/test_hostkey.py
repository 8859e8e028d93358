"""Where a host key goes that is accepted; a machine that shows none keeps nobody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from otter_ctl.dialling import Client, Dial
from otter_ctl.errors import MachineUnreachable
from otter_ctl.machine import hostkey
from otter_ctl.topology.model import Machine


async def test_one_that_never_answers_is_given_up(monkeypatch):
    async def never(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncssh, "get_server_host_key", never)
    monkeypatch.setattr(hostkey, "ANSWER_S", 0.01)
    async with asyncio.timeout(5):
        with pytest.raises(MachineUnreachable, match=r"gives no answer in 0.01 s"):
            await hostkey.accept(Machine(name="pi", ssh="pi.invalid"), "SHA256:x")


async def test_a_configuration_that_makes_no_sense_is_one_line(tmp_path):
    (tmp_path / "config").write_text("Port many\n")
    machine = Machine(name="pi", ssh="pi.invalid", ssh_config=str(tmp_path / "config"))
    with pytest.raises(MachineUnreachable, match=r"can't be reached by SSH"):
        await hostkey.accept(machine, "SHA256:x")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ssh"


@pytest.fixture
async def server() -> AsyncIterator[tuple[int, asyncssh.SSHKey]]:
    """Its port, and the host key that it shows."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key])
    yield listener.get_port(), key
    listener.close()
    await listener.wait_closed()


def machine_at(folder: Path, port: int, *lines: str) -> Machine:
    own = ["HostName 127.0.0.1", f"Port {port}", *lines]
    (folder / "config").write_text("\n".join(own) + "\n")
    return Machine(name="pi", ssh="pi.invalid", ssh_config=str(folder / "config"))


async def known(machine: Machine) -> bool:
    client, dial = Client(), Dial(machine)
    await dial.options(client, dial.hop)
    return client.known


async def test_it_goes_where_dialling_reads_and_never_into_the_computers_file(
    tmp_path: Path, home: Path, server: tuple[int, asyncssh.SSHKey]
) -> None:
    """Whatever of the two files the configuration names, and in whatever state it is."""
    port, key = server
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.write_text("")
    for named, path in (((), home / "known_hosts"), ((f"UserKnownHostsFile {ours}",), ours)):
        machine = machine_at(tmp_path, port, f"GlobalKnownHostsFile {theirs}", *named)
        with pytest.raises(MachineUnreachable, match="another host key"):
            await hostkey.accept(machine, "SHA256:x")
        assert not path.exists()
        await hostkey.accept(machine, key.get_fingerprint())
        assert await known(machine)
        assert path.stat().st_mode & 0o777 == 0o600
        path.write_text("one ssh-ed25519 AAAA")  # by hand, without an end of its line
        await hostkey.accept(machine, key.get_fingerprint())
        assert await known(machine)
        assert path.read_text().splitlines()[0] == "one ssh-ed25519 AAAA"
    assert theirs.read_text() == ""


@pytest.mark.parametrize("named", ["none", "/dev/null", "~/.ssh/%k"])
async def test_where_there_is_no_file_for_it_that_is_told(
    tmp_path: Path, home: Path, named: str, server: tuple[int, asyncssh.SSHKey]
) -> None:
    port, key = server
    machine = machine_at(tmp_path, port, f"UserKnownHostsFile {named}")
    with pytest.raises(MachineUnreachable, match=f"UserKnownHostsFile {named} is no file"):
        await hostkey.accept(machine, key.get_fingerprint())
    assert not home.exists()


async def test_a_file_that_cannot_be_written_to_is_told(
    tmp_path: Path, server: tuple[int, asyncssh.SSHKey]
) -> None:
    port, key = server
    (tmp_path / "file").touch()
    machine = machine_at(tmp_path, port, f"UserKnownHostsFile {tmp_path}/file/known_hosts")
    with pytest.raises(MachineUnreachable, match="its key can't be accepted"):
        await hostkey.accept(machine, key.get_fingerprint())
