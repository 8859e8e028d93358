"""Runs @MODEL@ for @TASK@.

What comes to the input `input`, if a stream leads there, and each file that is put into the work
folder's `inputs/`, is given to the model; what it makes of that is logged, and sent to the output
`output`, if a stream leaves from it. What the model can't take is said, and harms nothing else.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the weights are there
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tasks  # type: ignore[import-not-found]

import net
from net import weights

MODEL, TASK = "@MODEL@", "@TASK@"
INPUT = "@INPUT@"  # "": what tasks.py knows of the task
LOOK_S = 0.2


class Worker:
    """Gives things to the model, one after the other."""

    def __init__(self, mesh: net.Mesh, run: Any) -> None:
        self._mesh, self._run = mesh, run
        self._turn = asyncio.Lock()

    async def messages(self) -> None:
        """What comes by a stream."""
        async for message in self._mesh.input("input"):
            result = await self._work(message.id, message.value)
            if "output" in self._mesh.outputs:
                await self._mesh.output("output").send(result, reply_to=message)

    async def files(self) -> None:
        """What is put into the folder; copying by `otterctl cp` puts it there whole."""
        seen: set[tuple[str, int]] = set()
        while True:
            for file in sorted(self._mesh.work.glob("inputs/*")):
                look = (file.name, file.stat().st_mtime_ns)
                if file.is_file() and not file.name.startswith(".") and look not in seen:
                    seen.add(look)
                    result = await self._work(file.name, file)
                    if "output" in self._mesh.outputs:
                        await self._mesh.output("output").send(result)
            await asyncio.sleep(LOOK_S)

    async def _work(self, name: str, value: Any) -> Any:
        async with self._turn:
            began = time.perf_counter()
            try:
                result = await asyncio.to_thread(self._run, value)
            except tasks.InputError as exc:
                print(f"{name}: can't be worked on: {exc}")
                return {"error": str(exc)}
        print(f"{name}: {tasks.shown(result)} ({time.perf_counter() - began:.3f} s of computing)")
        return result


async def main(mesh: net.Mesh) -> None:
    """Load, say ready, work."""
    began = time.perf_counter()
    try:
        folder: Path = weights.prepared(mesh.models, MODEL)
        run = await asyncio.to_thread(tasks.load, TASK, folder, INPUT)
    except weights.WeightsError as exc:
        sys.exit(str(exc))
    print(f"{MODEL} loaded in {time.perf_counter() - began:.2f} s")
    (mesh.work / "inputs").mkdir(exist_ok=True)
    await mesh.ready()
    worker = Worker(mesh, run)
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(worker.files())
        if "input" in mesh.inputs:
            await worker.messages()
            looking.cancel()  # all senders have ended


if __name__ == "__main__":
    net.run(main)
