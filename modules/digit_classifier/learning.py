"""A small convolutional network for digits of 28 by 28, in Keras; a step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.float32]
"""(n, 28, 28, 1) from 0 to 1."""
CLASSES = 10
BATCH = 64


def network(seed: int) -> keras.Model:
    """Not trained yet; out come probabilities of the ten digits."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.RandomTranslation(0.08, 0.08, fill_mode="constant", seed=seed),
            layers.RandomRotation(0.04, fill_mode="constant", seed=seed),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.4, seed=seed),
            layers.Dense(96, activation="relu"),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
    return model


def batches(
    pictures: Pictures, labels: NDArray[Any], seed: int
) -> Iterator[tuple[Pictures, NDArray[Any]]]:
    """For ever: all of them in another order each time."""
    chance = np.random.default_rng(seed)
    while True:
        order = chance.permutation(len(pictures))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            yield pictures[chosen], labels[chosen]


def accuracy(model: keras.Model, pictures: Pictures, labels: NDArray[Any]) -> float:
    """Share of pictures that it names rightly."""
    found = model(pictures, training=False).numpy().argmax(axis=1)
    return float((found == labels).mean())


def quality(model: keras.Model, pictures: Pictures) -> tuple[float, list[int]]:
    """How good generated digits are: mean probability of what each looks like most; and what."""
    told = model(pictures, training=False).numpy()
    return float(told.max(axis=1).mean()), [int(n) for n in told.argmax(axis=1)]
