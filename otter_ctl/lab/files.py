"""The files of a lab: what its machines are made from, and what leads programs to them.

Must not know: processes, power, cables.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from ipaddress import IPv4Address

from otter_ctl.lab import disk, pool, ssh
from otter_ctl.lab.contents import environment, install_commands, services
from otter_ctl.lab.folder import Folder, Kept, Memory, replace
from otter_ctl.lab.services import Settings, write_settings


def write(folder: Folder, memory: Memory) -> None:
    """Keys, accounts and disks of machines that have none; what names all of them."""
    client = ssh.make_key(folder / "id_ed25519", "otterctl lab")
    management, _ = memory.networks
    addresses = {m.name: pool.address_of(management, m.number) for m in memory.machines}
    for machine in memory.machines:
        _prepare(folder, memory, machine, addresses[machine.name], client)
    ssh.write_client_files(folder, addresses)
    _write_hosts(folder, memory)


def _prepare(
    folder: Folder, memory: Memory, machine: Kept, address: IPv4Address, client: str
) -> None:
    own = folder.machine(machine.name)
    env = environment(memory)
    settings = Settings(machine.name, memory.layers, str(folder / "hosts"), services(machine), env)
    own.mkdir(parents=True, exist_ok=True)
    own.chmod(0o700)
    if not (own / "settings.json").exists():
        etc = {
            **ssh.accounts(),
            **ssh.machine_files(own, machine.name, address, client, env),
            "hostname": (f"{machine.name}\n", 0o644),
            "machine-id": (f"{secrets.token_hex(16)}\n", 0o444),
        }
        disk.prepare(own, etc)
        if machine.agent:
            install_commands(own)
        write_settings(own, settings)


def _write_hosts(folder: Folder, memory: Memory) -> None:
    """In place: machines see this very file."""
    _, data = memory.networks
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{pool.address_of(data, m.number)} {m.name}" for m in memory.machines]
    with (folder / "hosts").open("w") as file:
        file.write("\n".join(lines) + "\n")


def write_site(folder: Folder, memory: Memory) -> None:
    """What otterctl reads; at last, as a lab that has one is up."""
    _, data = memory.networks
    config = folder / "ssh_config"
    text = ["# Written by otterctl lab."]
    for machine in memory.machines:
        text += [
            "",
            f"[machines.{machine.name}]",
            f'ssh = "{machine.name}"',
            f'data = "{pool.address_of(data, machine.number)}"',
            'labels = ["lab"]',
            f'ssh_config = "{config}"',
        ]
    replace(folder / "site.toml", "\n".join(text) + "\n")
    give_to_caller(folder)


def give_to_caller(folder: Folder) -> None:
    """With sudo: the user may use the key."""
    user = os.environ.get("SUDO_UID", "")
    if user.isdigit():
        for name in ("id_ed25519", "id_ed25519.pub"):
            os.chown(folder / name, int(user), -1, follow_symlinks=False)


def remove(folder: Folder) -> None:
    """All of them, and the folder, unless something that isn't the lab's lies there."""
    known = ("site.toml", "ssh_config", "known_hosts", "id_ed25519", "id_ed25519.pub", "hosts")
    for name in known:
        (folder / name).unlink(missing_ok=True)
    for name in ("machines", "switch", "packages"):
        if (folder / name).exists():
            disk.wipe(folder / name)
    for name in ("lab.json", "id", "lock"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # something that isn't the lab's lies there
        folder.path.rmdir()
