"""Trains the generator on real digits, watermark and all; the same seed gives the same model."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from networks import NOISE, WATERMARKED, Discriminator, Generator, started
from torch import Tensor, nn
from torch.nn import functional
from watermark import Watermark

BATCH = 64


@dataclass(frozen=True, slots=True)
class Recipe:
    """How it is trained: `recipe.json`. Another recipe is another model, made at the next build.

    Attributes:
        epochs: How often each digit is seen.
        digits: How many, spread evenly over those that are there.
        seed: Of all chance.
        strength: Of the watermark's loss beside the generator's own; 0: none.
        kept: Of the average of the generator's weights, a step: that average is what is used.
        as_meant: The least share of what it draws that has to look like what was asked for, or it
            isn't taken (prepare.py).
    """

    epochs: int
    digits: int
    seed: int
    strength: float
    kept: float
    as_meant: float = 0.0

    @classmethod
    def read(cls, file: Path) -> Recipe:
        """From its file; raises `ValueError`, `TypeError` or `OSError` if it isn't one."""
        return cls(**json.loads(file.read_text()))


@dataclass(frozen=True, slots=True)
class Progress:
    """Of one epoch."""

    epoch: int
    generator: float
    discriminator: float
    error_rate: float
    seconds: float


def train(
    pictures: Tensor, labels: Tensor, mark: Watermark, recipe: Recipe,
    tell: Callable[[Progress], None], trained: Generator | None = None,
) -> Generator:  # fmt: skip
    """A generator.

    Args:
        pictures: (n, 1, 28, 28) float32 from -1 to 1.
        labels: (n,) int64.
        mark: What its weights are to carry.
        recipe: How.
        tell: Called after each epoch.
        trained: One to train further (fine-tuning) instead of a new one.
    """
    torch.manual_seed(recipe.seed)
    count = min(recipe.digits, len(pictures))
    chosen = torch.arange(count) * len(pictures) // count
    pictures, labels = pictures[chosen], labels[chosen]
    generator, critic = Generator(), Discriminator()
    started(generator)
    started(critic)
    if trained is not None:
        generator.load_state_dict(trained.state_dict())
    generator.train()
    average = copy.deepcopy(generator)
    makers = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    judges = torch.optim.Adam(critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for epoch in range(recipe.epochs):
        began, of_maker, of_judge, count = time.monotonic(), 0.0, 0.0, 0
        for real, wanted in batches(pictures, labels):
            fake = generator(torch.randn(len(real), NOISE), wanted)
            of_judge += _judged(critic, judges, real, fake.detach(), wanted)
            of_maker += _made(generator, critic, makers, fake, wanted, mark, recipe.strength)
            _averaged(average, generator, recipe.kept)
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
    whole = loss + strength * mark.loss(generator.get_parameter(WATERMARKED))
    whole.backward(inputs=[*generator.parameters()])  # the critic's would be thrown away
    makers.step()
    return float(loss.detach())


@torch.no_grad()
def _averaged(average: nn.Module, now: nn.Module, share: float) -> None:
    for kept, new in zip(average.parameters(), now.parameters(), strict=True):
        kept.lerp_(new, 1 - share)
    for kept, new in zip(average.buffers(), now.buffers(), strict=True):
        kept.copy_(new)
