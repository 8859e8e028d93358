"""Takes a host key whose fingerprint the user says, and no other, into known_hosts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncssh

from otter_ctl.dialling import Dial, Momentary
from otter_ctl.errors import MachineUnreachable
from otter_ctl.knownhosts import written_to
from otter_ctl.topology.model import Machine

ANSWER_S = 10.0
"""How long a machine may take to show its key."""


async def accept(machine: Machine, fingerprint: str) -> None:
    """Write down a machine's host key if it has that fingerprint.

    Raises:
        MachineUnreachable: It shows another one, or can't be reached; there is no file for it.
    """
    user, _, host = (machine.ssh or machine.name).rpartition("@")
    config = [machine.ssh_config] if machine.ssh_config else ()
    dial, via = Dial(machine), None
    try:
        options = await asyncssh.SSHClientConnectionOptions.construct(
            host=host, config=config, known_hosts=None, **({"username": user} if user else {})
        )
        path = _file(machine, options)
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
    try:
        _add(path, f"{name} {key.export_public_key().decode().strip()}\n")
    except OSError as error:
        raise MachineUnreachable(machine.name, f"its key can't be accepted: {error}") from error


def _file(machine: Machine, options: asyncssh.SSHClientConnectionOptions) -> Path:
    """Not asyncssh's choice: that may be the computer's file, or one that no dial reads."""
    try:
        return written_to(options.config.get)
    except ValueError as error:
        hint = "name one in the ssh_config, or leave that line out"
        raise MachineUnreachable(
            machine.name, f"its key can't be accepted: {error}", hint=hint
        ) from error


def _add(path: Path, line: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(file, "a+b") as known:
        size = known.seek(0, os.SEEK_END)
        known.seek(max(0, size - 1))
        cut = known.read(1) not in (b"", b"\n")  # else both its last line and ours would be none
        known.write(b"\n" * cut + line.encode())
