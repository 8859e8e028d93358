"""A watermark in the weights of a model, embedded while it is trained.

The weights of one layer, averaged over its outputs, are projected on secret directions; the signs
are the bits. Training has a second loss that pulls them there, so that nobody sees it in what the
model does, and it stays through fine-tuning. Source: Uchida, Nagai, Sakazawa, Satoh, "Embedding
Watermarks into Deep Neural Networks", ICMR 2017, equations 2 to 4.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional

BITS = 64


class WatermarkError(ValueError):
    """A model doesn't carry the watermark that it should."""


class Watermark:
    """One owner's.

    Args:
        key: Secret: whoever has it can read the bits, and prove whose they are.
        owner: What the bits say: the first 64 of its SHA-256.
    """

    def __init__(self, key: str, owner: str) -> None:
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
        self._chance = seed
        digest = hashlib.sha256(owner.encode()).digest()
        bits = [digest[i // 8] >> (7 - i % 8) & 1 for i in range(BITS)]
        self.bits = torch.tensor(bits, dtype=torch.float32)
        self._directions: Tensor | None = None

    def loss(self, weight: Tensor) -> Tensor:
        """How far the bits of a layer's weights are from the owner's; to be made small."""
        return functional.binary_cross_entropy_with_logits(self._projected(weight), self.bits)

    def error_rate(self, weight: Tensor) -> float:
        """Share of the bits that are wrong: 0 for the owner's model, about 0.5 for another's."""
        with torch.no_grad():
            read = (self._projected(weight) >= 0).to(torch.float32)
        return float((read != self.bits).to(torch.float32).mean())

    def check(self, weight: Tensor, most: float = 0.0) -> None:
        """See that a model is the owner's.

        Raises:
            WatermarkError: More of the bits than `most` are wrong.
        """
        rate = self.error_rate(weight)
        if not rate <= most:
            what = "another's, or tampered with" if rate > 0.25 else "tampered with"
            raise WatermarkError(
                f"the model is {what}: {rate:.1%} of its watermark's bits are wrong"
            )

    def _projected(self, weight: Tensor) -> Tensor:
        """(64,): what the bits are the signs of. Of a transposed convolution outputs are axis 1."""
        flat = weight.mean(dim=1).flatten()
        if self._directions is None or self._directions.shape[1] != len(flat):
            chance = torch.Generator().manual_seed(self._chance)
            self._directions = torch.randn(BITS, len(flat), generator=chance)
        return self._directions @ flat
