"""Who answers questions about pictures: two models that work together, or one that does it all.

Must not know: streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import questions  # type: ignore[import-not-found]
from PIL import Image

from net import weights

IMAGE_MODEL = "efficientnet-lite0"
IMAGE_FILES = ("model.keras", "labels.json")
LANGUAGE_MODEL = "smollm2-135m-instruct"
LANGUAGE_KINDS = frozenset({"llama", "qwen2", "gpt2", "gpt_neox", "mistral", "phi", "gemma"})
PAIR = f"{IMAGE_MODEL}+{LANGUAGE_MODEL}"
VQA_MODEL = "dandelin/vilt-b32-finetuned-vqa"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what it rests on (for the log)."""

    text: str
    seen: str


class Analyst(Protocol):
    """Answers questions about pictures."""

    def warm_up(self) -> None:
        """Run once: the first run is slow."""
        ...

    def answer(self, pictures: Sequence[Image.Image], asked: Sequence[str]) -> list[Answer]:
        """An answer for each picture and its question."""
        ...


class Pair:
    """An image model (TensorFlow) that names what it sees, a language model (PyTorch) that words.

    Args:
        models: Folder of the prepared models.
        threads: To compute with.

    Raises:
        WeightsError: One of them can't be used.
    """

    def __init__(self, models: Path | None, threads: int) -> None:
        seeing = weights.prepared(models, IMAGE_MODEL, {"keras"}, IMAGE_FILES)
        wording = weights.prepared(models, LANGUAGE_MODEL, LANGUAGE_KINDS)
        # PyTorch comes first: the other way round both of them have hung in the past.
        from language import LanguageModel  # type: ignore[import-not-found]

        self._words: Any = LanguageModel(wording, threads)
        from classifier import Classifier  # type: ignore[import-not-found]

        self._eyes: Any = Classifier(seeing, threads)

    def warm_up(self) -> None:
        """See `Analyst`."""
        self._eyes.warm_up()
        kinds = ("tabby cat", "Egyptian Mau")  # `a` and `an`: what is kept ends before either
        asked = [questions.prompt(kind, "What is it?") for kind in kinds]
        self._words.keep(asked)
        self._words.go_on(asked[:1], 2)

    def answer(self, pictures: Sequence[Image.Image], asked: Sequence[str]) -> list[Answer]:
        """See `Analyst`."""
        seen = self._eyes(list(pictures))
        labels = [each[0].label for each in seen]
        prompts = [questions.prompt(*each) for each in zip(labels, asked, strict=True)]
        written = self._words.go_on(prompts)
        return [
            Answer(questions.answer_of(text, label), ", ".join(map(str, names)))
            for text, label, names in zip(written, labels, seen, strict=True)
        ]


class Vilt:
    """One model that sees the picture and reads the question: ViLT, made for VQA.

    Args:
        folder: Where its weights are.
        threads: To compute with.

    Raises:
        WeightsError: They don't fit the model.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from transformers import AutoProcessor, ViltForQuestionAnswering
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self._torch = torch
        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder)
            model, told = ViltForQuestionAnswering.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
        except (RuntimeError, ValueError, OSError, KeyError) as exc:
            why = (str(exc).strip() or repr(exc)).splitlines()[0][:300]
            text = f"{folder.name} can't be loaded: {why}"
            raise weights.WeightsError(text, hint=weights.anew(folder)) from exc
        if missing := sorted(told["missing_keys"]):
            text = f"{folder.name} lacks weights: {', '.join(missing[:3])}"
            raise weights.WeightsError(text, hint=weights.anew(folder))
        self._model: Any = model.eval()

    def warm_up(self) -> None:
        """See `Analyst`."""
        self.answer([Image.new("RGB", (384, 384))], ["What is it?"])

    def answer(self, pictures: Sequence[Image.Image], asked: Sequence[str]) -> list[Answer]:
        """See `Analyst`."""
        given = self._processor(
            list(pictures), list(asked), return_tensors="pt", padding=True, truncation=True
        )
        with self._torch.inference_mode():
            shares = self._model(**given).logits.sigmoid()
        found = []
        for row in shares:
            best = row.topk(min(3, len(row)))
            names = [self._model.config.id2label[int(i)] for i in best.indices]
            told = [f"{n} {float(v):.2f}" for n, v in zip(names, best.values, strict=True)]
            found.append(Answer(names[0], ", ".join(told)))
        return found


def analyst(model: str, models: Path | None, threads: int) -> tuple[str, Analyst]:
    """Who is asked for: its name, and itself.

    Args:
        model: `auto` (a VQA model where one was prepared, else the pair), PAIR, or a VQA model.
        models: Folder of the prepared models.
        threads: To compute with.

    Raises:
        WeightsError: It can't be used.
    """
    if model == "auto":
        there = models is not None and (models / VQA_MODEL.rpartition("/")[2]).is_dir()
        model = VQA_MODEL if there else PAIR
    if model == PAIR:
        return model, Pair(models, threads)
    return model, Vilt(weights.prepared(models, model, {"vilt"}), threads)
