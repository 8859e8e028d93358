"""The language model: goes on with a text. PyTorch, in memory from start to end.

What all its texts begin with is computed once and kept. Must not know: pictures, streams.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

from net.weights import WeightsError, anew

MOST_TOKENS = 24
"""Of an answer: a sentence."""


class LanguageModel:
    """A causal language model in memory; always writes the likeliest next word.

    Args:
        folder: Where its weights are.
        threads: To compute with.

    Raises:
        WeightsError: They don't fit the model.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self._torch = torch
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            model, told = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
        except (RuntimeError, ValueError, OSError, KeyError) as exc:
            why = (str(exc).strip() or repr(exc)).splitlines()[0][:300]
            text = f"{folder.name} can't be loaded: {why}"
            raise WeightsError(text, hint=anew(folder)) from exc
        if missing := sorted(told["missing_keys"]):  # they would be random numbers
            text = f"{folder.name} lacks weights: {', '.join(missing[:3])}"
            raise WeightsError(text, hint=anew(folder))
        self._model: Any = model.eval()
        self._pad = int(self._tokenizer.eos_token_id or 0)
        self._ends = torch.tensor([self._pad, *self._tokenizer.encode("\n")[-1:]])
        self._start: list[int] = []
        self._kept: Any = None

    def keep(self, texts: Sequence[str]) -> None:
        """Compute once what all of these texts, and later ones, begin with."""
        torch = self._torch
        coded = [self._tokenizer.encode(text) for text in texts]
        same = takewhile(lambda each: len(set(each)) == 1, zip(*coded, strict=False))
        common = [each[0] for each in same]
        with torch.inference_mode():
            self._kept = self._model(torch.tensor([common]), use_cache=True).past_key_values
        self._start = common

    def go_on(self, texts: Sequence[str], most: int = MOST_TOKENS) -> list[str]:
        """What the model writes after each text, up to the end of the line."""
        torch = self._torch
        ids, mask, cache = self._begin([self._tokenizer.encode(text) for text in texts])
        written = torch.empty((len(texts), 0), dtype=torch.long)
        ended = torch.zeros(len(texts), dtype=torch.bool)
        with torch.inference_mode():
            for _ in range(most):
                places = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
                told = self._model(
                    ids, attention_mask=mask, position_ids=places, past_key_values=cache,
                    use_cache=True, logits_to_keep=1,
                )  # fmt: skip
                cache = told.past_key_values
                ids = told.logits[:, -1].argmax(-1, keepdim=True)
                ended |= torch.isin(ids[:, 0], self._ends)
                if ended.all():
                    break
                written = torch.cat([written, ids.masked_fill(ended[:, None], self._pad)], 1)
                mask = torch.cat([mask, torch.ones_like(ids)], 1)
        return [str(t) for t in self._tokenizer.batch_decode(written, skip_special_tokens=True)]

    def _begin(self, coded: list[list[int]]) -> tuple[Any, Any, Any]:
        """The first step of a batch: its tokens, which of all there are count, what is known.

        Texts of different lengths end together: what is in front of the shorter ones doesn't count.
        """
        torch, known, cache = self._torch, len(self._start), None
        if known and all(c[:known] == self._start and len(c) > known for c in coded):
            cache = copy.deepcopy(self._kept)
            if len(coded) > 1:
                cache.batch_repeat_interleave(len(coded))
        else:
            known = 0
        rest = [c[known:] for c in coded]
        longest = max(map(len, rest))
        gaps = [longest - len(r) for r in rest]
        ids = torch.tensor([[self._pad] * gap + r for gap, r in zip(gaps, rest, strict=True)])
        counts = [[1] * known + [0] * gap + [1] * (longest - gap) for gap in gaps]
        return ids, torch.tensor(counts), cache
