"""Turns EfficientNet-lite0, as PyTorch has it, into a Keras model with the same outputs.

The layers are built here and get the same numbers; PyTorch has the axes of a kernel in another
order. Padding is as TensorFlow does it in both: the weights were trained there.

Source: github.com/tensorflow/tpu, models/official/efficientnet/lite.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[Any]]

SIZE = 224
TOLERANCE = 1e-3
"""How far outputs (logits, some -4 to 12) may be from those of the PyTorch model."""
_MEAN, _SPREAD = 127.0, 128.0
_EPSILON = 1e-3
_STAGES = (  # kernel, blocks, expansion, stride of the first, channels
    (3, 1, 1, 1, 16), (3, 2, 6, 2, 24), (5, 2, 6, 2, 40), (3, 3, 6, 2, 80), (5, 3, 6, 1, 112),
    (5, 4, 6, 2, 192), (3, 1, 6, 1, 320),
)  # fmt: skip


class ConversionError(ValueError):
    """These aren't the weights of the model, or the outputs differ."""


def convert(weights: Weights, labels: list[str], target: Path) -> Any:
    """Write the Keras model and its labels into the folder `target`; returns the model.

    Raises:
        ConversionError: A weight is missing, of another shape, or of no layer.
    """
    model, names = build(len(labels))
    used = set[str]()
    for layer, prefix in names:
        values = dict(_values(weights, layer, prefix))
        wanted = [tuple(v.shape) for v in layer.weights]
        found = [v.shape for v in values.values()]
        if wanted != found:
            raise ConversionError(f"{prefix}: shapes {found} instead of {wanted}")
        layer.set_weights(list(values.values()))
        used.update(values)
    left = {n for n in weights if not n.endswith("num_batches_tracked")} - used
    if left:
        raise ConversionError(f"no layer for {', '.join(sorted(left)[:3])}")
    target.mkdir(parents=True, exist_ok=True)
    model.save(target / "model.keras")
    (target / "labels.json").write_text(json.dumps(labels))
    (target / "config.json").write_text(json.dumps({"model_type": "keras"}))
    return model


def check(model: Any, reference: Callable[[NDArray[Any]], NDArray[Any]]) -> float:
    """The largest difference of outputs over some pictures.

    Args:
        model: The Keras model.
        reference: The PyTorch model: float32 [n, 3, 224, 224], normalised → float32 [n, labels].

    Raises:
        ConversionError: It is more than TOLERANCE.
    """
    random = np.random.default_rng(7)
    noise = random.uniform(0, 255, (2, SIZE, SIZE, 3))
    slope = np.linspace(0, 255, SIZE)
    smooth = np.stack([np.add.outer(slope, slope[::turn]) / 2 for turn in (1, -1, 1)], axis=-1)
    pixels = np.concatenate([noise, smooth[None]]).astype(np.float32)
    ours = np.asarray(model(pixels, training=False))
    theirs = reference(((pixels - _MEAN) / _SPREAD).transpose(0, 3, 1, 2))
    apart = float(np.abs(ours - theirs).max())
    if not apart <= TOLERANCE:  # not a number is no good either
        raise ConversionError(f"outputs differ by {apart:.3g}, more than {TOLERANCE:g}")
    return apart


def build(labels: int) -> tuple[Any, list[tuple[Any, str]]]:
    """The model, from pixels (0 to 255), and which layer has which of PyTorch's weights."""
    import keras
    from keras import layers

    names: list[tuple[Any, str]] = []

    def named(layer: Any, prefix: str) -> Any:
        names.append((layer, prefix))
        return layer

    def normed(x: Any, layer: Any, prefix: str, norm: str, *, active: bool = True) -> Any:
        x = named(layer, prefix)(x)
        x = named(layers.BatchNormalization(epsilon=_EPSILON), norm)(x)
        return layers.ReLU(6.0)(x) if active else x

    def conv(channels: int, kernel: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False)

    def block(x: Any, at: str, kernel: int, expansion: int, stride: int, channels: int) -> Any:
        given, inside = x, x.shape[-1] * expansion
        if expansion != 1:
            x = normed(x, conv(inside), f"{at}._expand_conv", f"{at}._bn0")
        depth = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False)
        x = normed(x, depth, f"{at}._depthwise_conv", f"{at}._bn1")
        x = normed(x, conv(channels), f"{at}._project_conv", f"{at}._bn2", active=False)
        same = stride == 1 and given.shape[-1] == channels
        return layers.Add()([x, given]) if same else x

    pixels = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / _SPREAD, -_MEAN / _SPREAD)(pixels)
    x = normed(x, conv(32, 3, 2), "_conv_stem", "_bn0")
    for at, (kernel, expansion, stride, channels) in enumerate(_blocks()):
        x = block(x, f"_blocks.{at}", kernel, expansion, stride, channels)
    x = normed(x, conv(1280), "_conv_head", "_bn1")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, named(layers.Dense(labels), "_fc")(x)), names


def _blocks() -> Iterator[tuple[int, int, int, int]]:
    for kernel, count, expansion, stride, channels in _STAGES:
        for turn in range(count):
            yield kernel, expansion, 1 if turn else stride, channels


def _values(weights: Weights, layer: Any, prefix: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """PyTorch's weights of a layer, in the order and with the axes that Keras has."""
    kind = type(layer).__name__
    axes = {"Conv2D": (2, 3, 1, 0), "DepthwiseConv2D": (2, 3, 0, 1), "Dense": (1, 0)}
    parts = ("weight", "bias") if kind == "Dense" else ("weight",)
    if kind == "BatchNormalization":
        parts = ("weight", "bias", "running_mean", "running_var")
    for part in parts:
        name = f"{prefix}.{part}"
        if name not in weights:
            raise ConversionError(f"no weights {name}: not EfficientNet-lite0")
        values = weights[name]
        if kind in axes and part == "weight":
            if values.ndim != len(axes[kind]):
                raise ConversionError(f"{name} has {values.ndim} dimensions")
            values = values.transpose(axes[kind])
        yield name, values
