"""Hears: transcribes recordings with Whisper, logs the texts and sends them on.

Recordings are the files that OTTER_WAV matches in the work folder (default `inputs/*.wav`), in
order of name, and what comes to the input `audio`. Output `text` (str), if a stream leaves from
it; without one the log has it all. With OTTER_STAY=1 it stays, and hears each file that is put
into the folder; else it ends when all is heard.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

# Read when torch and transformers load. Weights were prepared at build: a missing one is an error,
# never a download. One thread: several modules share few cores, and more threads only wait.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from audio import RATE_HZ, Samples, WavError  # type: ignore[import-not-found]
from recordings import Recording, Recordings  # type: ignore[import-not-found]

import net
from net import units, weights
from net.computing import OneThread

MODEL = os.environ.get("OTTER_MODEL", "openai/whisper-tiny.en")
PATTERN = os.environ.get("OTTER_WAV", "inputs/*.wav")
STAY = os.environ.get("OTTER_STAY", "0") == "1"
LONGEST = os.environ.get("OTTER_LONGEST", "5min")
BATCH = int(os.environ.get("OTTER_BATCH", "4"))
WINDOW_S = 30
"""Whisper hears this much at a time; longer recordings go in overlapping windows."""


class Recogniser:
    """A Whisper model in memory.

    Args:
        folder: Where its weights are.

    Raises:
        WeightsError: They don't fit the model.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        try:
            model, told = AutoModelForSpeechSeq2Seq.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
            processor = AutoProcessor.from_pretrained(folder)
        except (RuntimeError, ValueError, OSError) as exc:
            raise weights.WeightsError(f"{folder.name} can't be loaded: {_line(exc)}") from exc
        if missing := sorted(told["missing_keys"]):  # they would be random numbers
            raise weights.WeightsError(f"{folder.name} lacks weights: {', '.join(missing[:3])}")
        tokenizer = processor.tokenizer
        if tokenizer.pad_token_id is None:  # needed to hear several at once
            tokenizer.pad_token_id = model.config.eos_token_id
        self._pipeline: Any = pipeline(
            "automatic-speech-recognition", model=model, tokenizer=tokenizer,
            feature_extractor=processor.feature_extractor,
        )  # fmt: skip

    def warm_up(self) -> None:
        """Run once, on silence: the first run is slow. Few words: silence makes Whisper dream."""
        silence = np.zeros(RATE_HZ, np.float32)
        self._pipeline(
            {"raw": silence, "sampling_rate": RATE_HZ}, generate_kwargs={"max_new_tokens": 4}
        )

    def __call__(self, sounds: list[Samples]) -> list[str]:
        """The words in each of several mono float32 [n] at 16 kHz."""
        is_long = max(map(len, sounds)) > WINDOW_S * RATE_HZ
        options = {"chunk_length_s": WINDOW_S} if is_long else {}
        asked = [{"raw": samples, "sampling_rate": RATE_HZ} for samples in sounds]
        heard = self._pipeline(asked, batch_size=len(asked), **options)
        return [str(each["text"]).strip() for each in heard]


class Ear:
    """Hears recordings, and tells what it heard.

    Args:
        mesh: Where texts go.
        recognise: What hears.
        compute: The thread in which it does; others look for files and read them.
        longest_s: Of a recording.
    """

    def __init__(
        self, mesh: net.Mesh, recognise: Recogniser, compute: OneThread, longest_s: float
    ) -> None:
        self._mesh, self._recognise, self._compute = mesh, recognise, compute
        self._longest_s = longest_s
        self.heard = self.failed = 0

    async def hear(self, batch: list[Recording]) -> None:
        """All of a batch together; what can't be heard is said, and harms no other."""
        sounds: list[tuple[Recording, Samples]] = []
        for one in batch:
            try:
                samples = await asyncio.to_thread(one.samples, self._longest_s)
                sounds.append((one, samples))
            except WavError as exc:
                self.failed += 1
                print(f"can't hear the recording: {exc}")
                if one.message is not None:
                    one.message.done()
        if not sounds:
            return
        start = time.perf_counter()
        texts = await self._compute(self._recognise, [samples for _, samples in sounds])
        took = time.perf_counter() - start
        for (one, samples), text in zip(sounds, texts, strict=True):
            print(f"{one.name}: {len(samples) / RATE_HZ:.2f} s of sound, {took:.3f} s of computing")
            await self._tell(one, text)

    async def _tell(self, one: Recording, text: str) -> None:
        self.heard += 1
        print(f"heard: {text}")
        if "text" in self._mesh.outputs:
            sent = await self._mesh.output("text").send(text, reply_to=one.message)
            print(f"sent: {sent}")
        if one.message is not None:
            one.message.done()


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


async def main(mesh: net.Mesh) -> None:
    """Load, say ready, hear all recordings."""
    began, compute = time.perf_counter(), OneThread()
    try:
        longest_s = units.duration(LONGEST)
        folder = weights.prepared(mesh.models, MODEL, {"whisper"})
        recognise = await compute(Recogniser, folder)
    except (weights.WeightsError, units.UnitError) as exc:
        sys.exit(str(exc))
    loaded = time.perf_counter()
    await compute(recognise.warm_up)
    print(f"{MODEL} loaded in {loaded - began:.2f} s, warm in {time.perf_counter() - loaded:.2f} s")
    (mesh.work / PATTERN).parent.mkdir(parents=True, exist_ok=True)
    await mesh.ready()
    ear = Ear(mesh, recognise, compute, longest_s)
    recordings = Recordings(mesh, PATTERN, stay=STAY)
    async with asyncio.TaskGroup() as group:
        group.create_task(recordings.collect())
        while batch := await recordings.batch(BATCH):
            await ear.hear(batch)
    if not ear.heard + ear.failed:
        sys.exit(f"no file matches {PATTERN} in {mesh.work}: set `files` of module {mesh.module}")
    if ear.failed:
        sys.exit(f"{ear.failed} of {ear.heard + ear.failed} recordings could not be heard")


if __name__ == "__main__":
    net.run(main)
