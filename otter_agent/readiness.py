"""Finds out when a running module is ready. Mechanism only; when to ask is the keeper's.

A module is asked every 20 ms at first and ever more slowly, so that a quick module is seen ready
at once and a slow one costs nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from otter_agent import api
from otter_agent.machine import Machine
from otter_agent.runtimes.base import Exec, Key

FIRST_WAIT_S = 0.02
LONGEST_WAIT_S = 0.5
CONNECT_TIMEOUT_S = 1.0
PROBE_TIMEOUT_S = 10.0
KEPT_BYTES = 4096
"""Of what a probing command prints: the last line is shown."""
SHOWN_CHARACTERS = 160

Probe = Callable[[], Awaitable[str]]
"""Asks once: "" for ready, else what is in the way, a few words."""
NOT_YET = "not yet"
"""In the way is what is waited for, no more."""


def probe_of(machine: Machine, mesh: str, module: api.ModuleSpec) -> Probe | None:
    """The question to ask, over and over, until it is answered with True; None: no question."""
    ready = module.ready
    if ready.tcp is not None:
        return _tcp(machine, mesh, module, ready.tcp)
    if ready.command is not None:
        return _command(machine, Key(mesh, module.name), module.runtime, ready.command)
    if ready.sdk:
        return _marker(machine.layout.module(mesh, module.name).ready)
    return None


async def ask(
    probe: Probe, within_s: float, same: Callable[[], bool], troubled: Callable[[str, bool], None]
) -> bool:
    """Ask until the answer is yes, also when it is late. Callers cancel.

    Args:
        probe: The question.
        within_s: After this long an answer is late.
        same: Whether the question still is about the same life; if not, the answer is no.
        troubled: Called after each no, with what is in the way, and whether it is late by now.
    """
    loop = asyncio.get_running_loop()
    deadline, wait = loop.time() + within_s, FIRST_WAIT_S
    while same():
        trouble = await _asked(probe)
        if not trouble:
            return same()
        if same():
            troubled("" if trouble == NOT_YET else trouble, loop.time() > deadline)
        await asyncio.sleep(wait)
        wait = min(wait * 1.3, LONGEST_WAIT_S)
    return False


async def _asked(probe: Probe) -> str:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return await probe()
    except TimeoutError:
        return f"no answer within {PROBE_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001 - a module that can't be asked isn't ready, no more
        return str(error) or type(error).__name__


def _marker(path: Path) -> Probe:
    async def probe() -> str:
        # One lstat in a folder of ours: not worth a thread.
        return "" if os.path.lexists(path) else NOT_YET

    return probe


def _tcp(machine: Machine, mesh: str, module: api.ModuleSpec, port: int) -> Probe:
    async def probe() -> str:
        return await asyncio.to_thread(
            machine.network.refusal, mesh, module.host, module.address, port, CONNECT_TIMEOUT_S
        )

    return probe


def _command(machine: Machine, key: Key, runtime: str, argv: tuple[str, ...]) -> Probe:
    async def probe() -> str:
        said = bytearray()

        async def keep(fd: int, data: bytes) -> None:
            said.extend(data)
            del said[:-KEPT_BYTES]

        driver = machine.runtimes[runtime]
        if not isinstance(driver, Exec):
            return ""
        code = await driver.exec(key, argv, stdin=None, output=keep)
        return f"exit status {code}{_last_line(said)}" if code else ""

    return probe


def _last_line(said: bytearray) -> str:
    lines = said.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    shown = "".join(c if c.isprintable() else " " for c in last)[:SHOWN_CHARACTERS]
    return f": {shown}" if shown else ""
