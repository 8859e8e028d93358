"""Background load: a sender, if it is told to whom, else a sink.

What was sent, or arrived, is printed every few seconds and kept in traffic.json.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from senders import Datagrams, Flows  # type: ignore[import-not-found]
from settings import Settings, read  # type: ignore[import-not-found]
from sink import Sink  # type: ignore[import-not-found]

import net

REPORT = "traffic.json"


async def main(mesh: net.Mesh) -> None:
    """Send, or take, until the time is over, or for ever."""
    try:
        settings = read(os.environ)
        senders = {to: _sender(to, settings, seed) for seed, to in enumerate(settings.to)}
    except ValueError as error:
        sys.exit(f"traffic: {error}")
    async with contextlib.AsyncExitStack() as stack:
        sink = None
        if not senders:
            sink = Sink(socket.gethostbyname(mesh.module), settings.port)
            await sink.open(stack)
        await mesh.ready()

        def report() -> dict[str, Any]:
            if sink is not None:
                return {"role": "sink", **sink.report()}
            sent = {to: sender.report() for to, sender in senders.items()}
            return {"role": "sender", "kind": settings.kind, "to": sent}

        await _work(settings, list(senders.values()), report, mesh.work / REPORT)


def _sender(to: str, settings: Settings, seed: int) -> Datagrams | Flows:
    if settings.kind == "tcp":
        return Flows(to, settings)
    return Datagrams(to, settings, settings.seed + seed)


async def _work(
    settings: Settings, senders: list[Any], report: Callable[[], dict[str, Any]], file: Path
) -> None:
    """Let all send, or wait; report now and then, and at the end."""
    try:
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(_reports(settings, report, file), name="reports")
            if senders:
                async with asyncio.TaskGroup() as sending:
                    for sender in senders:
                        sending.create_task(sender.run(), name="sender")
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(settings.for_s or None):
                        await asyncio.Event().wait()  # for ever
            reporting.cancel()
    finally:
        _write(report(), file)


async def _reports(settings: Settings, report: Callable[[], dict[str, Any]], file: Path) -> None:
    while True:
        await asyncio.sleep(settings.every_s)
        _write(report(), file)


def _write(report: dict[str, Any], file: Path) -> None:
    print(json.dumps(report), flush=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(report, indent=1) + "\n")
    fresh.replace(file)


if __name__ == "__main__":
    net.run(main)
