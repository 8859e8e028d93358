"""Draws digits, and sends them: 64 at a time, all ten classes, always new ones.

Output `digits` ({"pictures": float32 [64, 28, 28, 1] from 0 to 1, "labels": int64 [64]}), each
OTTER_EVERY seconds (default 2), OTTER_ROUNDS times (default 0: for ever). Input `scores`
({"quality": float}), if a stream leads there, is printed. Before anything is sent the weights'
watermark is read and their seal checked: a model without it, of another owner, or that was changed
in the least isn't served.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from marks import KEY, OWNER  # type: ignore[import-not-found]
from networks import CLASSES, WATERMARKED, Generator, sample  # type: ignore[import-not-found]
from safetensors.torch import load_file
from seal import holds  # type: ignore[import-not-found]
from watermark import Watermark, WatermarkError  # type: ignore[import-not-found]

import net
from net.weights import WeightsError, anew, prepared

NAME = "digit-generator"
COUNT = 64
EVERY_S = float(os.environ.get("OTTER_EVERY", "2"))
ROUNDS = int(os.environ.get("OTTER_ROUNDS", "0"))
SAME_KEY = "OTTER_OWNER and OTTER_KEY have to be those of its build"


def load(mesh: net.Mesh) -> Generator:
    """The generator, whose watermark is whole: on a GPU, if torch is built for one and sees it.

    Raises:
        WeightsError: It isn't there, isn't this model, is another's, or was tampered with.
    """
    folder = prepared(mesh.models, NAME, kinds=(NAME,))
    generator = Generator()
    try:
        generator.load_state_dict(load_file(folder / "model.safetensors"))
    except (RuntimeError, OSError) as exc:
        why = " ".join(str(exc).split())[:200]
        text = f"{NAME}: not this network's weights: {why}"
        raise WeightsError(text, hint=anew(folder)) from exc
    mark, hint = Watermark(KEY, OWNER), f"{SAME_KEY}; {anew(folder)}"
    try:
        mark.check(generator.get_parameter(WATERMARKED))
    except WatermarkError as exc:
        raise WeightsError(str(exc), hint=hint) from exc
    sealed = json.loads((folder / "config.json").read_text()).get("seal")
    if not holds(folder / "model.safetensors", KEY, sealed):
        text = f"{NAME}: the model was changed since it was made: its seal is broken"
        raise WeightsError(text, hint=hint)
    print(f"watermark of {OWNER!r}: bit error rate 0.0; the seal holds")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"computes on {device}")
    return generator.eval().to(device)


def drawn(generator: Generator, seed: int) -> dict[str, Any]:
    """A message: pictures, and what they are to show. They are drawn when this returns."""
    labels = torch.arange(COUNT) % CLASSES
    pictures = sample(generator, labels, seed).cpu()  # waits for a GPU: its turn ends after that
    return {"pictures": (pictures.permute(0, 2, 3, 1).numpy() + 1) / 2, "labels": labels.numpy()}


async def draw(mesh: net.Mesh, generator: Generator) -> None:
    """Send, until all rounds are over."""
    round_, turn = 0, net.lease()
    while not ROUNDS or round_ < ROUNDS:
        async with turn:
            start = time.perf_counter()
            value = await asyncio.to_thread(drawn, generator, round_)
            took = time.perf_counter() - start
        await mesh.output("digits").send(value)
        print(f"round {round_}: {COUNT} digits in {took:.3f} s, waited {turn.waited_s:.3f} s")
        round_ += 1
        await asyncio.sleep(EVERY_S)


async def hear(mesh: net.Mesh) -> None:
    """Print what comes back, until that is all: who sends scores waits for them to be taken."""
    heard = 0
    async for message in mesh.input("scores"):
        value = message.value
        quality = value.get("quality") if isinstance(value, dict) else None
        told = f"{quality:.3f}" if isinstance(quality, int | float) else "not told"
        print(f"quality: {told}")
        heard += 1
        if heard == ROUNDS:
            return


async def main(mesh: net.Mesh) -> None:
    """Load, see whose it is, draw."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        generator = await asyncio.to_thread(load, mesh)
    except WeightsError as exc:
        sys.exit(str(exc))
    await mesh.ready()
    async with asyncio.TaskGroup() as group:
        if "scores" in mesh.inputs:
            group.create_task(hear(mesh))
        group.create_task(draw(mesh, generator))


if __name__ == "__main__":
    net.run(main)
