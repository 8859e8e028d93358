"""Learns digits, and meanwhile judges those that come: how good are they?

Input `digits` ({"pictures": float32 [n, 28, 28, 1] from 0 to 1, "labels": int [n], which may be
left out, …}). Output `scores` ({"quality": float, "classes": int, "as_meant": float, "accuracy":
float}, in reply to its digits; may be left unconnected). `quality` is the mean probability of what
each looks like most, `as_meant` the share that looks like its label; None for what is no digits. It
learns for OTTER_STEPS batches (default 3000), and judges as long as anybody sends;
`outputs/report.json` has the last of both.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # others use the GPU, too
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", os.environ["OMP_NUM_THREADS"])
os.environ.setdefault("TF_NUM_INTEROP_THREADS", os.environ["OMP_NUM_THREADS"])

import learning  # type: ignore[import-not-found]
import numpy as np
from given import DigitsError, kept, meant_by, pictures_of  # type: ignore[import-not-found]

import net
from net.weights import anew

STEPS = int(os.environ.get("OTTER_STEPS", "3000"))
SEED = int(os.environ.get("OTTER_SEED", "1"))
TELL_EVERY = 250
HELD_OUT = 5
"""Each fifth digit is never learnt from: what it is examined with."""


class Pupil:
    """One network, and what it has learnt so far."""

    def __init__(self, mesh: net.Mesh) -> None:
        self._mesh = mesh
        self._one = asyncio.Lock()  # a network does one thing at a time
        self._turn = net.lease()
        self.report: dict[str, Any] = {"steps": 0, "accuracy": None, "quality": None}

    def load(self) -> None:
        """The digits, and a network that knows nothing. Blocking.

        Raises:
            DigitsError: They can't be used.
        """
        pictures, labels = kept(self._mesh.models)
        learnt = np.arange(len(labels)) % HELD_OUT != 0
        self._exam = pictures[~learnt], labels[~learnt]
        self._batches = learning.batches(pictures[learnt], labels[learnt], SEED)
        self._network = learning.network(SEED)
        self._network(pictures[:1])  # the first is slow

    async def learn(self) -> None:
        """All steps, each in a turn of its own."""
        began = time.perf_counter()
        for step in range(1, STEPS + 1):
            await self._do(self._network.train_on_batch, *next(self._batches))
            if step % TELL_EVERY == 0 or step == STEPS:
                accuracy = await self._do(learning.accuracy, self._network, *self._exam)
                self.report |= {"steps": step, "accuracy": accuracy}
                spent = time.perf_counter() - began
                print(f"step {step}: {accuracy:.1%} right of those it never saw, {spent:.1f} s")
                self._keep()

    async def judge(self) -> None:
        """Whatever comes, until all senders have ended; what is no digits harms no others."""
        async for message in self._mesh.input("digits"):
            try:
                pictures = pictures_of(message.value)
                meant = meant_by(message.value, len(pictures))
            except DigitsError as exc:
                print(f"can't judge them: {exc}")
                await self._answer(message, {"quality": None, "classes": 0, "as_meant": None})
                continue
            quality, shown = await self._do(learning.quality, self._network, pictures)
            classes = len(set(shown))
            as_meant = None if meant is None else float((meant == shown).mean())
            scores = {"quality": quality, "classes": classes, "as_meant": as_meant}
            self.report |= scores
            told = "" if as_meant is None else f", {as_meant:.0%} as meant"
            print(f"quality: {quality:.3f}, {classes} of 10 classes{told}")
            self._keep()
            await self._answer(message, scores)

    async def _answer(self, message: net.Message, scores: dict[str, Any]) -> None:
        if "scores" in self._mesh.outputs:
            told = scores | {"accuracy": self.report["accuracy"]}
            await self._mesh.output("scores").send(told, reply_to=message)

    async def _do(self, work: Any, *arguments: Any) -> Any:
        async with self._one, self._turn:
            return await asyncio.to_thread(work, *arguments)

    def _keep(self) -> None:
        folder = self._mesh.work / "outputs"
        folder.mkdir(exist_ok=True)
        (folder / "report.json").write_text(json.dumps(self.report) + "\n")


async def main(mesh: net.Mesh) -> None:
    """Load, say ready, learn and judge."""
    pupil = Pupil(mesh)
    try:
        await asyncio.to_thread(pupil.load)
    except DigitsError as exc:
        sys.exit(f"{exc}; {anew()}")
    await mesh.ready()
    async with asyncio.TaskGroup() as group:
        group.create_task(pupil.learn())
        if "digits" in mesh.inputs:
            group.create_task(pupil.judge())
    print(f"learnt: {json.dumps(pupil.report)}")


if __name__ == "__main__":
    net.run(main)
