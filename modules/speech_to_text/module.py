"""Hears: transcribes WAV files with Whisper, logs the text and sends it on.

Output `text` (str), if a stream leaves from it; without one the log has it all. The files are
those that OTTER_WAV matches in the work folder (default `inputs/*.wav`), in order of name. When
all are done the module ends.
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
from audio import RATE_HZ, WavError, load_wav  # type: ignore[import-not-found]

import net

MODEL = os.environ.get("OTTER_MODEL", "openai/whisper-tiny.en")
PATTERN = os.environ.get("OTTER_WAV", "inputs/*.wav")
WINDOW_S = 30
"""Whisper hears this much at a time; longer recordings go in overlapping windows."""


class Recogniser:
    """A Whisper model in memory.

    Args:
        folder: Where its weights are.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import pipeline
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self._pipeline: Any = pipeline(
            "automatic-speech-recognition", model=str(folder), dtype=torch.float32
        )

    def warm_up(self) -> None:
        """Run once, on silence: the first run is slow. Few words: silence makes Whisper dream."""
        silence = np.zeros(RATE_HZ, np.float32)
        self._pipeline(
            {"raw": silence, "sampling_rate": RATE_HZ}, generate_kwargs={"max_new_tokens": 4}
        )

    def __call__(self, samples: Any) -> str:
        """The words in mono float32 [n] at 16 kHz."""
        options = {"chunk_length_s": WINDOW_S} if len(samples) > WINDOW_S * RATE_HZ else {}
        heard = self._pipeline({"raw": samples, "sampling_rate": RATE_HZ}, **options)
        return str(heard["text"]).strip()


def weights(models: Path | None) -> Path:
    """The folder of MODEL's weights among those that were prepared; ends the module if absent."""
    name = MODEL.rpartition("/")[2]
    folder = (models or Path()) / name
    if (folder / "config.json").is_file():
        return folder
    there = sorted(f.name for f in models.iterdir()) if models and models.is_dir() else []
    sys.exit(f"{MODEL} was not prepared at build: {models} holds {', '.join(there) or 'nothing'}")


async def main(mesh: net.Mesh) -> None:
    """Load, say ready, transcribe every file."""
    began = time.perf_counter()
    recognise = await asyncio.to_thread(Recogniser, weights(mesh.models))
    loaded = time.perf_counter()
    await asyncio.to_thread(recognise.warm_up)
    print(f"{MODEL} loaded in {loaded - began:.2f} s, warm in {time.perf_counter() - loaded:.2f} s")
    await mesh.ready()
    files = sorted(mesh.work.glob(PATTERN))
    if not files:
        sys.exit(f"no file matches {PATTERN} in {mesh.work}: set `files` of module {mesh.module}")
    for file in files:
        try:
            samples = await asyncio.to_thread(load_wav, file)
        except (WavError, OSError) as exc:
            sys.exit(f"can't read the recording: {exc}")
        start = time.perf_counter()
        text = await asyncio.to_thread(recognise, samples)
        took = time.perf_counter() - start
        print(f"{file.name}: {len(samples) / RATE_HZ:.2f} s of sound, {took:.3f} s of computing")
        print(f"heard: {text}")
        if "text" in mesh.outputs:
            await mesh.output("text").send(text)


if __name__ == "__main__":
    net.run(main)
