"""`run`: from a process that the agent started to a module's `main`.

Must not know: how messages travel, what a module does.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from net.loops import new_event_loop
from net.mesh import Mesh
from net.records import say
from net.timebase import CLOCK_FILE, MeshClock
from net.wiring import WiringError, read_wiring


def mesh_from_environment() -> Mesh:
    """The mesh that the agent described to this process.

    Raises:
        WiringError: This process wasn't started by OTTER, or the wiring file makes no sense.
    """
    path = os.environ.get("OTTER_WIRING")
    if not path:
        raise WiringError(
            "this module wasn't started by OTTER (OTTER_WIRING isn't set)",
            hint="run it with `otterctl apply TOPOLOGY`",
        )
    try:
        wiring = read_wiring(Path(path).read_bytes())
    except OSError as exc:
        raise WiringError(f"can't read the wiring file {path}: {exc.strerror or exc}") from exc
    return Mesh(wiring, state=_folder("OTTER_STATE"), work=_folder("OTTER_WORK"),
                models=_folder("OTTER_MODELS"),
                base=MeshClock(Path(path).with_name(CLOCK_FILE)))  # fmt: skip


def _folder(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def run(main: Callable[[Mesh], Coroutine[Any, Any, None]], *, thread: bool = False) -> None:
    """Run a module: call `main` with its mesh; when it returns, flush and end its outputs.

    SIGTERM and Ctrl-C cancel `main`; the process then exits with 143 or 130. Started outside of
    OTTER it says so and exits with 2.

    Args:
        main: The module.
        thread: Keep the transport in a thread of its own, for a `main` that computes without
            `await` for long: messages are received and acknowledged meanwhile. Costs some 100 µs
            a message: docs/modules.md.
    """
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(line_buffering=True)
    if "OTTER_GPU_MEMORY_BYTES" in os.environ:
        from net import frameworks

        frameworks.prepare()
    stopped: list[signal.Signals] = []
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run_in_thread(main, stopped) if thread else _run(main, stopped))
    except WiringError as exc:
        say(str(exc))
        raise SystemExit(2) from None
    except asyncio.CancelledError:
        if not stopped:
            raise
    except KeyboardInterrupt:
        stopped.append(signal.SIGINT)
    if stopped:
        raise SystemExit(128 + stopped[0])


async def _run(
    main: Callable[[Mesh], Coroutine[Any, Any, None]], stopped: list[signal.Signals]
) -> None:
    _listen_to_sigterm(stopped)
    async with mesh_from_environment() as mesh:
        await main(mesh)


async def _run_in_thread(
    main: Callable[[Mesh], Coroutine[Any, Any, None]], stopped: list[signal.Signals]
) -> None:
    from net.thread import LoopThread
    from net.threaded import ThreadedMesh

    _listen_to_sigterm(stopped)
    real = mesh_from_environment()
    with LoopThread() as transport:
        async with ThreadedMesh(transport, real) as mesh:
            await main(mesh)


def _listen_to_sigterm(stopped: list[signal.Signals]) -> None:
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        stopped.append(signal.SIGTERM)
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
