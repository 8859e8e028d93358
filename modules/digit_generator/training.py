"""Trains the generator on real digits, watermark and all; the same seed gives the same model."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from networks import NOISE, WATERMARKED, Discriminator, Generator, started
from torch import Tensor, nn
from torch.nn import functional
from watermark import Watermark

BATCH = 64
STRENGTH = 0.05
"""Of the watermark's loss beside the generator's own."""
KEPT = 0.995
"""Of the average of the generator's weights, a step: that average is what is used."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one epoch."""

    epoch: int
    generator: float
    discriminator: float
    error_rate: float
    seconds: float


def train(
    pictures: Tensor, labels: Tensor, mark: Watermark, epochs: int, seed: int,
    tell: Callable[[Progress], None], strength: float = STRENGTH,
) -> Generator:  # fmt: skip
    """A generator.

    Args:
        pictures: (n, 1, 28, 28) float32 from -1 to 1.
        labels: (n,) int64.
        mark: What its weights are to carry.
        epochs: How often it sees each.
        seed: Of all chance.
        tell: Called after each epoch.
        strength: Of the watermark.
    """
    torch.manual_seed(seed)
    generator, critic = Generator(), Discriminator()
    started(generator)
    started(critic)
    average = copy.deepcopy(generator)
    makers = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    judges = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for epoch in range(epochs):
        began, of_maker, of_judge, count = time.monotonic(), 0.0, 0.0, 0
        for real, wanted in batches(pictures, labels):
            fake = generator(torch.randn(len(real), NOISE), wanted)
            of_judge += _judged(critic, judges, real, fake.detach(), wanted)
            of_maker += _made(generator, critic, makers, fake, wanted, mark, strength)
            _averaged(average, generator)
            count += 1
        rate = mark.error_rate(average.get_parameter(WATERMARKED))
        spent = time.monotonic() - began
        tell(Progress(epoch, of_maker / count, of_judge / count, rate, spent))
    return average.eval()


def batches(pictures: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All of them once, in another order each time, moved by up to a pixel each way."""
    order = torch.randperm(len(pictures))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        across, down = (int(n) for n in torch.randint(-1, 2, (2,)))
        yield torch.roll(pictures[chosen], (down, across), dims=(2, 3)), labels[chosen]


def _judged(
    critic: Discriminator, judges: torch.optim.Optimizer, real: Tensor, fake: Tensor, wanted: Tensor
) -> float:
    judges.zero_grad(set_to_none=True)
    sure = torch.full((len(real),), 0.9)  # one-sided label smoothing
    loss = functional.binary_cross_entropy_with_logits(critic(real, wanted), sure)
    loss = loss + functional.binary_cross_entropy_with_logits(
        critic(fake, wanted), torch.zeros(len(fake))
    )
    loss.backward()
    judges.step()
    return float(loss.detach())


def _made(
    generator: Generator, critic: Discriminator, makers: torch.optim.Optimizer, fake: Tensor,
    wanted: Tensor, mark: Watermark, strength: float,
) -> float:  # fmt: skip
    makers.zero_grad(set_to_none=True)
    loss = functional.binary_cross_entropy_with_logits(critic(fake, wanted), torch.ones(len(fake)))
    (loss + strength * mark.loss(generator.get_parameter(WATERMARKED))).backward()
    makers.step()
    return float(loss.detach())


@torch.no_grad()
def _averaged(average: nn.Module, now: nn.Module) -> None:
    for kept, new in zip(average.parameters(), now.parameters(), strict=True):
        kept.lerp_(new, 1 - KEPT)
    for kept, new in zip(average.buffers(), now.buffers(), strict=True):
        kept.copy_(new)
