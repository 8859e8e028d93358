"""Takes a host key whose fingerprint the user says, and no other, into known_hosts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncssh

from otter_ctl.dialling import Dial, Momentary
from otter_ctl.errors import MachineUnreachable
from otter_ctl.topology.model import Machine

ANSWER_S = 10.0
"""How long a machine may take to show its key."""


async def accept(machine: Machine, fingerprint: str) -> None:
    """Write down a machine's host key if it has that fingerprint.

    Raises:
        MachineUnreachable: It shows another one, or can't be reached.
    """
    user, _, host = (machine.ssh or machine.name).rpartition("@")
    config = [machine.ssh_config] if machine.ssh_config else ()
    dial, via = Dial(machine), None
    try:
        options = await asyncssh.SSHClientConnectionOptions.construct(
            host=host, config=config, known_hosts=None, **({"username": user} if user else {})
        )
        via = await dial.through(options)  # jump hosts are verified as ever
        async with asyncio.timeout(ANSWER_S):
            key = await asyncssh.get_server_host_key(options.host, options=options, tunnel=via)
    except Momentary as error:
        raise dial.unreachable(str(error)) from error
    except TimeoutError as error:
        why = f"can't be reached by SSH: it gives no answer in {ANSWER_S:g} s"
        raise MachineUnreachable(machine.name, why) from error
    except (asyncssh.Error, OSError, ValueError) as error:
        raise MachineUnreachable(machine.name, f"can't be reached by SSH: {error}") from error
    finally:
        if via is not None:
            via.abort()
    shown = key.get_fingerprint() if key is not None else "none"
    if key is None or shown != fingerprint:
        raise MachineUnreachable(
            machine.name,
            f"shows another host key than the one to accept: {shown}",
            hint="somebody may be in between; ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub"
            " says it over there",
        )
    alias = options.host_key_alias or options.host
    name = alias if options.port == asyncssh.DEFAULT_PORT else f"[{alias}]:{options.port}"
    path = await _known_hosts(host, config)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{name} {key.export_public_key().decode().strip()}\n"
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8"
    ) as file:
        file.write(line)


async def _known_hosts(host: str, config: object) -> Path:
    """The file that OpenSSH would write to for this host."""
    options = await asyncssh.SSHClientConnectionOptions.construct(host=host, config=config)
    files = options.known_hosts
    if isinstance(files, list | tuple) and files and isinstance(files[0], str):
        return Path(files[0]).expanduser()
    return Path("~/.ssh/known_hosts").expanduser()
