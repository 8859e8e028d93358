"""Runs one command: a signal ends it in order, an error is one line. Must not know: which."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Protocol

from net.errors import OtterError

FAILED = 1


class Work(Protocol):
    """One command."""

    async def run(self) -> None:
        """Do it. Ctrl-C and SIGTERM cancel it."""

    def summary(self, *, interrupted: bool) -> int:
        """Say what was done; the exit status."""


def run(work: Work, verb: str) -> int:
    """Run a command to its end; returns its exit status."""
    try:
        try:
            interrupted = asyncio.run(_until_signal(work))
        except OtterError as exc:
            sys.stdout.flush()
            print(f"python -m net {verb}: {exc}", file=sys.stderr)
            work.summary(interrupted=True)
            return FAILED
        status = work.summary(interrupted=interrupted)
        sys.stdout.flush()
    except BrokenPipeError:  # who read this has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status


async def _until_signal(work: Work) -> bool:
    """Whether a signal ended it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    told: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        told.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await work.run()
    except asyncio.CancelledError:
        if not told:
            raise
    return bool(told)
