"""Answers questions about a picture.

Input `question` (str), output `answer` (str, in reply to its question; may be left unconnected).
The picture is the last one that came to the input `picture` (an array, or a file's bytes), if a
stream leads there; else the newest file that OTTER_IMAGE matches in the work folder (default
`inputs/*`), so that a new one can be put there at any time. It ends when all who ask have ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Read when the frameworks load: see speech_to_text. Weights were prepared at build.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pictures  # type: ignore[import-not-found]
import questions  # type: ignore[import-not-found]
from analysts import Analyst, analyst  # type: ignore[import-not-found]

import net
from net.computing import OneThread
from net.weights import WeightsError

MODEL = os.environ.get("OTTER_MODEL", "auto")
PATTERN = os.environ.get("OTTER_IMAGE", "inputs/*")
BATCH = int(os.environ.get("OTTER_BATCH", "4"))


class Desk:
    """Takes questions, and sees that each is answered.

    Args:
        mesh: Where questions come from, and answers go.
        who: Answers them.
        compute: The thread in which that is done.
    """

    def __init__(self, mesh: net.Mesh, who: Analyst, compute: OneThread) -> None:
        self._mesh, self._who, self._compute = mesh, who, compute
        self._last: Any = None

    async def serve(self) -> None:
        """Answer until all who ask have ended."""
        asked = self._mesh.input("question")
        asked.by_hand = True  # acknowledged when answered: several are at work at once
        async for first in asked:
            batch = [first]
            while len(batch) < BATCH and (more := asked.receive_now()) is not None:
                batch.append(more)
            await self._answer(batch)

    async def watch(self) -> None:
        """Keep the newest picture that comes by a stream."""
        async for message in self._mesh.input("picture"):
            self._last = message.value

    async def _answer(self, batch: Sequence[net.Message]) -> None:
        start = time.perf_counter()
        answers = await self._compute(self._think, [message.value for message in batch])
        print(f"{len(batch)} answered after {time.perf_counter() - start:.3f} s of computing")
        for message, text in zip(batch, answers, strict=True):
            print(f"answer: {text}")
            if "answer" in self._mesh.outputs:
                await self._mesh.output("answer").send(text, reply_to=message)
            message.done()

    def _think(self, values: Sequence[Any]) -> list[str]:
        """An answer for each, whatever was asked. Blocking."""
        answers = [questions.NO_PICTURE] * len(values)
        sound: dict[int, str] = {}
        for at, value in enumerate(values):
            try:
                sound[at] = questions.question_of(value)
                print(f"question: {sound[at]}")
            except questions.QuestionError as exc:
                answers[at] = questions.NO_QUESTION
                print(f"can't answer: {exc}")
        if not sound:
            return answers
        try:
            picture = self._picture()
        except pictures.PictureError as exc:
            print(f"can't look at the picture: {exc}")
            return answers
        found = self._who.answer([picture] * len(sound), list(sound.values()))
        for at, answer in zip(sound, found, strict=True):
            print(f"seen: {answer.seen}")
            answers[at] = answer.text
        return answers

    def _picture(self) -> Any:
        if "picture" in self._mesh.inputs:
            if self._last is None:
                raise pictures.PictureError("none has come yet")
            return pictures.load(self._last)
        files = [f for f in self._mesh.work.glob(PATTERN) if f.is_file() and f.name[0] != "."]
        if not files:
            raise pictures.PictureError(f"no file matches {PATTERN} in {self._mesh.work}")
        newest = max(files, key=_age)
        print(f"looking at {newest.name}")
        return pictures.load(newest)


def _age(file: Path) -> tuple[int, str]:
    try:
        return file.stat().st_mtime_ns, file.name
    except OSError:  # gone meanwhile
        return 0, file.name


async def main(mesh: net.Mesh) -> None:
    """Load, say ready, answer."""
    began, compute = time.perf_counter(), OneThread()
    threads = int(os.environ["OMP_NUM_THREADS"])
    try:
        name, who = await compute(analyst, MODEL, mesh.models, threads)
    except WeightsError as exc:
        sys.exit(str(exc))
    loaded = time.perf_counter()
    await compute(who.warm_up)
    print(f"{name} loaded in {loaded - began:.2f} s, warm in {time.perf_counter() - loaded:.2f} s")
    await mesh.ready()
    desk = Desk(mesh, who, compute)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(desk.watch()) if "picture" in mesh.inputs else None
        await desk.serve()
        if watching is not None:
            watching.cancel()


if __name__ == "__main__":
    net.run(main)
