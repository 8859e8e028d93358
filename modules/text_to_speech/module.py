"""Speaks: turns texts into sound, keeps each as a WAV file, and sends it on.

Input `text` (str). Files `outputs/answer-1.wav`, `outputs/answer-2.wav`, … Output `audio`
({"samples": float32 [n], "rate_hz": int}, in reply to its text), if a stream leaves from it. It
ends when all senders have ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from speech import TextError, Voice, text_of, write_wav  # type: ignore[import-not-found]

import net
from net.computing import OneThread
from net.weights import WeightsError


class Mouth:
    """Says texts, and tells of each.

    Args:
        mesh: Where texts come from, and their sound goes.
        voice: That says them.
        compute: The thread in which it does; another one writes files.
    """

    def __init__(self, mesh: net.Mesh, voice: Voice, compute: OneThread) -> None:
        self._mesh, self._voice, self._compute = mesh, voice, compute
        self.said = 0

    async def say(self, message: net.Message) -> None:
        """One text; one that can't be said is told of, and harms no other."""
        try:
            text = text_of(message.value)
        except TextError as exc:
            print(f"can't say it: {exc}")
            return
        start = time.perf_counter()
        samples = await self._compute(self._voice, text)
        took = time.perf_counter() - start
        self.said += 1
        file = self._mesh.work / "outputs" / f"answer-{self.said}.wav"
        await asyncio.to_thread(write_wav, file, samples, self._voice.rate_hz)
        seconds = len(samples) / self._voice.rate_hz
        print(f"{file.name}: {seconds:.2f} s of sound, {took:.3f} s of computing")
        print(f"said: {text}")
        await self._pass_on(message, samples)

    async def _pass_on(self, message: net.Message, samples: Any) -> None:
        if "audio" in self._mesh.outputs:
            value = {"samples": samples, "rate_hz": self._voice.rate_hz}
            await self._mesh.output("audio").send(value, reply_to=message)


async def main(mesh: net.Mesh) -> None:
    """Load, say ready, speak."""
    began, compute = time.perf_counter(), OneThread()
    try:
        voice = await compute(Voice, int(os.environ["OMP_NUM_THREADS"]))
        loaded = time.perf_counter()
        await compute(voice.warm)
    except WeightsError as exc:
        sys.exit(str(exc))
    print(f"voice loaded in {loaded - began:.2f} s, warm in {time.perf_counter() - loaded:.2f} s")
    Path(mesh.work / "outputs").mkdir(exist_ok=True)
    await mesh.ready()
    mouth = Mouth(mesh, voice, compute)
    async for message in mesh.input("text"):
        await mouth.say(message)


if __name__ == "__main__":
    net.run(main)
