"""Turns a quantized Llama in GGUF, as llama.cpp has it, into a folder that `transformers` loads.

Numbers stay those that the quantized ones stand for, in half precision. GGUF has rotary pairs side
by side where `transformers` has halves, so rows of the query and key projections change places.

Source: ggml-org/llama.cpp, gguf-py and convert_hf_to_gguf.py (`LlamaModel.permute`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

_PARTS = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip
_WHOLE = {
    "token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}  # fmt: skip
_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


class GgufError(ValueError):
    """Not a Llama in GGUF that can be converted."""


def convert(source: Path, target: Path) -> None:
    """Write the model in the file `source` to the folder `target`.

    Raises:
        GgufError: It is damaged, or of another architecture.
    """
    try:
        reader = GGUFReader(source)
        config = config_of(_fields(reader))
        state = dict(translate(reader, config))
    except (ValueError, KeyError, IndexError, OSError) as exc:
        raise exc if isinstance(exc, GgufError) else GgufError(f"{source.name}: {exc!r}") from exc
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    _check(model.state_dict(), state)
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def config_of(fields: Mapping[str, Any]) -> LlamaConfig:
    """The model's shape, from the file's own words."""
    kind = fields.get("general.architecture")
    if kind != "llama":
        raise GgufError(f"a model of architecture {kind!r}; llama can be converted")
    own = {n.removeprefix("llama."): v for n, v in fields.items() if n.startswith("llama.")}
    heads = own["attention.head_count"]
    return LlamaConfig(
        vocab_size=own.get("vocab_size") or len(fields["tokenizer.ggml.tokens"]),
        hidden_size=own["embedding_length"],
        intermediate_size=own["feed_forward_length"],
        num_hidden_layers=own["block_count"],
        num_attention_heads=heads,
        num_key_value_heads=own.get("attention.head_count_kv", heads),
        max_position_embeddings=own["context_length"],
        rms_norm_eps=own["attention.layer_norm_rms_epsilon"],
        rope_theta=own.get("rope.freq_base", 10_000.0),
        tie_word_embeddings="output.weight" not in fields["names"],
        bos_token_id=fields.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=fields.get("tokenizer.ggml.eos_token_id"),
        dtype="float16",
    )


def translate(reader: Any, config: LlamaConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of transformers' state dict."""
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        name = _WHOLE.get(tensor.name)
        if match := _BLOCK.fullmatch(tensor.name):
            part = match[2]
            if part not in _PARTS:
                raise GgufError(f"tensor {tensor.name} is of no layer of a llama")
            if part in ("attn_q", "attn_k"):
                heads = config.num_attention_heads
                values = halved(values, heads if part == "attn_q" else config.num_key_value_heads)
            name = f"model.layers.{match[1]}.{_PARTS[part]}.weight"
        if name is not None:
            yield name, torch.from_numpy(np.ascontiguousarray(values)).half()
        elif tensor.name != "rope_freqs.weight":
            raise GgufError(f"tensor {tensor.name} is of no layer of a llama")


def halved(values: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of a projection: from pairs side by side to halves, per head."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, -1)


def _fields(reader: Any) -> dict[str, Any]:
    found = {
        name: field.contents()
        for name, field in reader.fields.items()
        if name.startswith(("general.", "llama.")) or name.endswith("_token_id")
    }
    tokens = reader.fields.get("tokenizer.ggml.tokens")
    found["tokenizer.ggml.tokens"] = range(len(tokens.data) if tokens else 0)
    found["names"] = {tensor.name for tensor in reader.tensors}
    return found


def _check(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    if missing := sorted(wanted.keys() ^ found.keys()):
        raise GgufError(f"the file's tensors aren't the model's: {', '.join(missing[:3])}")
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            shapes = f"{tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
            raise GgufError(f"{name} has the shape {shapes}")
