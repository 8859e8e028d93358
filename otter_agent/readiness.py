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

Probe = Callable[[], Awaitable[bool]]


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
    probe: Probe, within_s: float, same: Callable[[], bool], late: Callable[[str], None]
) -> bool:
    """Ask until the answer is yes, also when it is late. Callers cancel.

    Args:
        probe: The question.
        within_s: After this long `late` is called, once, with what went wrong last ("": nothing).
        same: Whether the question still is about the same life; if not, the answer is no.
        late: See `within_s`.
    """
    loop = asyncio.get_running_loop()
    deadline, told, wait = loop.time() + within_s, False, FIRST_WAIT_S
    while same():
        yes, trouble = await _asked(probe)
        if yes:
            return same()
        if not told and loop.time() > deadline:
            told = True
            late(trouble)
        await asyncio.sleep(LONGEST_WAIT_S if trouble else wait)
        wait = min(wait * 1.3, LONGEST_WAIT_S)
    return False


async def _asked(probe: Probe) -> tuple[bool, str]:
    """The answer, and why there was none."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return await probe(), ""
    except TimeoutError:
        return False, f"no answer within {PROBE_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001 - a module that can't be asked isn't ready, no more
        return False, str(error) or type(error).__name__


def _marker(path: Path) -> Probe:
    async def probe() -> bool:
        return os.path.lexists(path)  # one lstat in a folder of ours: not worth a thread

    return probe


def _tcp(machine: Machine, mesh: str, module: api.ModuleSpec, port: int) -> Probe:
    async def probe() -> bool:
        return await asyncio.to_thread(
            machine.network.connects, mesh, module.host, module.address, port, CONNECT_TIMEOUT_S
        )

    return probe


def _command(machine: Machine, key: Key, runtime: str, argv: tuple[str, ...]) -> Probe:
    async def ignore(fd: int, data: bytes) -> None:
        return None

    async def probe() -> bool:
        driver = machine.runtimes[runtime]
        if not isinstance(driver, Exec):
            return True
        return await driver.exec(key, argv, stdin=None, output=ignore) == 0

    return probe
