"""Turns a CTranslate2 Whisper folder into one that `transformers` loads.

The weights stay as they are, in half precision. CTranslate2 joins projections that it computes
together: self-attention's `linear_0` is query, key and value on top of each other,
cross-attention's `linear_1` key and value. Whisper's key projection has no bias, CTranslate2
stores zeros for it.
"""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from convert_ct2 import Ct2Error, read_ct2
from numpy.typing import NDArray
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizerFast,
)

Tensors = Mapping[str, NDArray[np.generic]]
HEAD_SIZE = 64
"""Of every Whisper. Source: openai/whisper, model-card.md."""


def convert(source: Path, target: Path) -> None:
    """Write the model in `source` (model.bin, config.json, tokenizer.json) to `target`.

    Raises:
        Ct2Error: `source` is no Whisper model in half or single precision.
    """
    with (source / "model.bin").open("rb") as file:
        # Mapped: a large model needn't fit in memory twice.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        tensors = read_ct2(mapped)
        weights = dict(translate(tensors))
    except KeyError as exc:
        raise Ct2Error(f"no tensor {exc} in it: not a Whisper model, or quantized") from exc
    tokenizer = WhisperTokenizerFast(tokenizer_file=str(source / "tokenizer.json"))
    model = WhisperForConditionalGeneration(config_of(tensors, tokenizer))
    model.load_state_dict(weights, strict=True)
    hints = json.loads((source / "config.json").read_text())
    model.generation_config = generation_of(model.config, tokenizer, hints)
    model.half().save_pretrained(target)
    mels = model.config.num_mel_bins
    WhisperProcessor(WhisperFeatureExtractor(feature_size=mels), tokenizer).save_pretrained(target)


def translate(tensors: Tensors) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of transformers' state dict."""
    for side in ("encoder", "decoder"):
        model = f"model.{side}"
        for index in range(layers_of(tensors, side)):
            yield from _layer(tensors, f"{side}/layer_{index}", f"{model}.layers.{index}")
        yield from _norm(tensors, f"{side}/layer_norm", f"{model}.layer_norm")
        positions = tensors[f"{side}/position_encodings/encodings"]
        yield f"{model}.embed_positions.weight", _tensor(positions)
    for conv in ("conv1", "conv2"):
        yield from _linear(tensors, f"encoder/{conv}", f"model.encoder.{conv}")
    embedding = _tensor(tensors["decoder/embeddings/weight"])
    yield "model.decoder.embed_tokens.weight", embedding
    yield "proj_out.weight", embedding  # tied


def layers_of(tensors: Tensors, side: str) -> int:
    """How many layers one side has."""
    found = (re.match(rf"{side}/layer_(\d+)/", name) for name in tensors)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def config_of(tensors: Tensors, tokenizer: WhisperTokenizerFast) -> WhisperConfig:
    """The model's shape, read from its tensors."""
    vocabulary, width = tensors["decoder/embeddings/weight"].shape
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    sides: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sides[f"{side}_layers"] = layers_of(tensors, side)
        sides[f"{side}_attention_heads"] = width // HEAD_SIZE
        sides[f"{side}_ffn_dim"] = tensors[f"{side}/layer_0/ffn/linear_0/bias"].shape[0]
    return WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        num_mel_bins=tensors["encoder/conv1/weight"].shape[1],
        max_source_positions=tensors["encoder/position_encodings/encodings"].shape[0],
        max_target_positions=tensors["decoder/position_encodings/encodings"].shape[0],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        **sides,
    )


def generation_of(
    config: WhisperConfig, tokenizer: WhisperTokenizerFast, hints: dict[str, Any]
) -> GenerationConfig:
    """How to decode. `hints` is CTranslate2's config.json."""
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        prev_sot_token_id=tokenizer.convert_tokens_to_ids("<|startofprev|>"),
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        suppress_tokens=hints["suppress_ids"],
        begin_suppress_tokens=hints["suppress_ids_begin"],
        alignment_heads=hints["alignment_heads"],
        max_length=config.max_target_positions,
        max_initial_timestamp_index=50,  # one second. Source: openai/whisper, decoding.py
        is_multilingual=False,
        return_timestamps=False,
    )


def _layer(tensors: Tensors, old: str, new: str) -> Iterator[tuple[str, torch.Tensor]]:
    own = f"{old}/self_attention"
    yield from _split(
        tensors, f"{own}/linear_0", f"{new}.self_attn", ("q_proj", "k_proj", "v_proj")
    )
    yield from _linear(tensors, f"{own}/linear_1", f"{new}.self_attn.out_proj")
    yield from _norm(tensors, f"{own}/layer_norm", f"{new}.self_attn_layer_norm")
    cross = f"{old}/attention"
    if f"{cross}/linear_0/weight" in tensors:
        yield from _linear(tensors, f"{cross}/linear_0", f"{new}.encoder_attn.q_proj")
        yield from _split(tensors, f"{cross}/linear_1", f"{new}.encoder_attn", ("k_proj", "v_proj"))
        yield from _linear(tensors, f"{cross}/linear_2", f"{new}.encoder_attn.out_proj")
        yield from _norm(tensors, f"{cross}/layer_norm", f"{new}.encoder_attn_layer_norm")
    yield from _linear(tensors, f"{old}/ffn/linear_0", f"{new}.fc1")
    yield from _linear(tensors, f"{old}/ffn/linear_1", f"{new}.fc2")
    yield from _norm(tensors, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")


def _split(
    tensors: Tensors, old: str, new: str, parts: tuple[str, ...]
) -> Iterator[tuple[str, torch.Tensor]]:
    weights = np.split(tensors[f"{old}/weight"], len(parts))
    biases = np.split(tensors[f"{old}/bias"], len(parts))
    for part, weight, bias in zip(parts, weights, biases, strict=True):
        yield f"{new}.{part}.weight", _tensor(weight)
        if part != "k_proj":
            yield f"{new}.{part}.bias", _tensor(bias)
        elif bias.any():
            raise Ct2Error(f"{old} has a key bias: not a Whisper model")


def _linear(tensors: Tensors, old: str, new: str) -> Iterator[tuple[str, torch.Tensor]]:
    yield f"{new}.weight", _tensor(tensors[f"{old}/weight"])
    yield f"{new}.bias", _tensor(tensors[f"{old}/bias"])


def _norm(tensors: Tensors, old: str, new: str) -> Iterator[tuple[str, torch.Tensor]]:
    yield f"{new}.weight", _tensor(tensors[f"{old}/gamma"])
    yield f"{new}.bias", _tensor(tensors[f"{old}/beta"])


def _tensor(values: NDArray[np.generic]) -> torch.Tensor:
    if values.dtype.kind != "f":
        raise Ct2Error(f"weights of type {values.dtype}: quantized models can't be converted")
    return torch.from_numpy(values.astype(np.float32))
