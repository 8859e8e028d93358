"""What a task takes and gives, between messages or files and a `transformers` pipeline.

    text     a str, or a text file
    image    an array [H, W, 3], or an image file or its bytes
    audio    {"samples": float32 [n], "rate_hz": int}, or a WAV file or its bytes
    both     {"image": …, "question": str}

Must not know: streams.
"""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from net.weights import WeightsError

KINDS = {
    "text-classification": "text", "token-classification": "text", "text-generation": "text",
    "fill-mask": "text", "feature-extraction": "text", "text-to-audio": "text",
    "image-classification": "image", "object-detection": "image", "image-segmentation": "image",
    "depth-estimation": "image", "image-feature-extraction": "image",
    "automatic-speech-recognition": "audio", "audio-classification": "audio",
    "visual-question-answering": "both",
}  # fmt: skip

TRAINING_ONLY = ("masked_spec_embed", "num_batches_tracked")
"""Ends of the names of weights that only training has a use for: a model may lack them."""


class InputError(ValueError):
    """Nothing that the task takes; the message says why."""


def load(task: str, folder: Path, takes: str = "") -> Callable[[Any], Any]:
    """The model, ready to be given things.

    Args:
        task: A pipeline's of `transformers`, or `visual-question-answering`.
        folder: Of the weights.
        takes: A kind of input; "": that of the task.

    Raises:
        WeightsError: It can't be loaded, isn't for this task, or lacks weights for it.
    """
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    kind = takes or KINDS[task]
    device = device_of(torch)
    try:
        with nothing_made_up(task, folder.name):
            run = _both(folder, device) if kind == "both" else _pipeline(task, folder, device)
    except WeightsError:
        raise
    except Exception as exc:  # whatever is wrong with a model, it is said in one line
        why = (str(exc).strip() or repr(exc)).splitlines()[0][:300]
        raise WeightsError(f"{folder.name} can't be loaded for {task}: {why}") from exc
    print(f"computes on {device}")
    take = {"text": text_of, "image": image_of, "audio": audio_of, "both": both_of}[kind]
    return given(run, take)


@contextmanager
def nothing_made_up(task: str, name: str) -> Iterator[None]:
    """Has `transformers` refuse models that lack weights for their task, while they are loaded.

    It would fill them with random numbers and only log it: a model without a head for the task
    answers nonsense then. What is lacking `from_pretrained` tells, but pipelines don't ask.

    Raises:
        WeightsError: One does; says which weights.
    """
    from transformers import PreTrainedModel

    own = vars(PreTrainedModel)["from_pretrained"]

    def loaded(kind: Any, *arguments: Any, **options: Any) -> Any:
        asked = options.pop("output_loading_info", False)
        model, told = own.__func__(kind, *arguments, output_loading_info=True, **options)
        if lacking := needed(task, told["missing_keys"]):
            shown = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
            raise WeightsError(f"{name} lacks weights: {shown}", hint=f"take a model for {task}")
        return (model, told) if asked else model

    PreTrainedModel.from_pretrained = classmethod(loaded)
    try:
        yield
    finally:
        PreTrainedModel.from_pretrained = own


def needed(task: str, lacking: Collection[str]) -> list[str]:
    """Those of the weights that a model lacks which its task has a use for."""
    unused = "pooler" if task.endswith("feature-extraction") else None  # it gives what is below
    return sorted(
        name for name in lacking
        if not name.endswith(TRAINING_ONLY) and unused not in name.split(".")
    )  # fmt: skip


def device_of(torch: Any) -> str:
    """A GPU, if torch is built for one and sees it; if it sees none it says so."""
    if torch.cuda.is_available():
        return "cuda"
    if torch.version.cuda:
        print("built for CUDA, but sees no GPU: does the topology ask for one (`gpu`)?")
    return "cpu"


def given(run: Callable[[Any], Any], take: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The model, which says of what it can't take why; `take` makes of a value what it takes."""

    def work(value: Any) -> Any:
        taken = take(value)
        try:
            return plain(run(taken))
        except InputError:
            raise
        except Exception as exc:  # a text that is too long, one without a mask: each has its own
            why = (str(exc).strip() or repr(exc)).splitlines()[0][:300]
            raise InputError(f"the model can't take it: {why}") from exc

    return work


def _pipeline(task: str, folder: Path, device: str) -> Callable[[Any], Any]:
    from transformers import pipeline

    run: Any = pipeline(task, model=str(folder), dtype="float32", device=device)
    rate = getattr(getattr(run, "feature_extractor", None), "sampling_rate", None)

    def call(value: Any) -> Any:
        if isinstance(value, dict) and rate and value["sampling_rate"] != rate:
            raise InputError(f"sound at {value['sampling_rate']} Hz; the model hears {rate} Hz")
        return run(value)

    return call


def _both(folder: Path, device: str) -> Callable[[Any], Any]:
    """`transformers` has no pipeline for it any more, but the classes."""
    import torch
    from transformers import AutoModelForVisualQuestionAnswering, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = AutoModelForVisualQuestionAnswering.from_pretrained(folder).eval().to(device)

    def call(value: tuple[Any, str]) -> Any:
        given = processor(*value, return_tensors="pt", truncation=True).to(model.device)
        with torch.inference_mode():
            if not hasattr(model, "classifier"):
                written = model.generate(**given, max_new_tokens=20)
                return [{"answer": processor.decode(written[0], skip_special_tokens=True)}]
            best = model(**given).logits[0].sigmoid().topk(min(3, model.config.num_labels))
        names = [model.config.id2label[int(at)] for at in best.indices]
        pairs = zip(names, best.values, strict=True)
        return [{"answer": name, "score": float(score)} for name, score in pairs]

    return call


def text_of(value: Any) -> str:
    """A text."""
    if isinstance(value, Path):
        value = value.read_text(errors="replace").strip()
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"a text was expected, not {_what(value)}")
    return value


def image_of(value: Any) -> Any:
    """A picture."""
    from PIL import Image

    try:
        if isinstance(value, np.ndarray):
            return Image.fromarray(value).convert("RGB")
        data = value.read_bytes() if isinstance(value, Path) else value
        if isinstance(data, bytes):
            return Image.open(io.BytesIO(data)).convert("RGB")
    except Exception as exc:  # what decoders raise of a damaged file is their own business
        raise InputError(f"a picture was expected: {exc}") from exc
    raise InputError(f"a picture was expected, not {_what(value)}")


def audio_of(value: Any) -> Any:
    """A sound, mono, as pipelines take it."""
    try:
        if isinstance(value, dict):
            samples, rate = np.asarray(value["samples"], np.float32), int(value["rate_hz"])
        else:
            data = value.read_bytes() if isinstance(value, Path) else value
            with wave.open(io.BytesIO(data)) as source:
                if source.getsampwidth() != 2:
                    raise InputError("a WAV file of 16 bits was expected")
                raw = source.readframes(source.getnframes())
                both = np.frombuffer(raw, "<i2").reshape(-1, source.getnchannels())
                samples = (both.mean(axis=1) / 32768).astype(np.float32)
                rate = source.getframerate()
    except (OSError, EOFError, KeyError, TypeError, ValueError, OverflowError, wave.Error) as exc:
        if isinstance(exc, InputError):
            raise
        raise InputError(f"a sound was expected: {exc!r}") from exc
    if samples.ndim != 1 or not samples.size:
        raise InputError(f"a sound was expected, not samples of shape {samples.shape}")
    return {"raw": samples, "sampling_rate": rate}


def both_of(value: Any) -> tuple[Any, str]:
    """A picture and a question."""
    if not isinstance(value, dict) or not {"image", "question"} <= value.keys():
        raise InputError(f"an image and a question were expected, not {_what(value)}")
    return image_of(value["image"]), text_of(value["question"])


def plain(value: Any) -> Any:
    """What messages can carry: arrays, texts, numbers, lists and dicts of these."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, str | bytes | int | float | bool | np.ndarray) or value is None:
        return value
    if isinstance(value, np.generic):
        return value.item()
    return np.asarray(value)  # tensors, and pictures


def shown(value: Any) -> str:
    """For the log: one line, no long arrays."""
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {list(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        more = ", …" if len(value) > 5 else ""
        return "[" + ", ".join(shown(each) for each in value[:5]) + more + "]"
    return f"{value:.4g}" if isinstance(value, float) else repr(value)[:200]


def _what(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"
