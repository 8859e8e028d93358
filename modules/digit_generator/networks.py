"""A class-conditional DCGAN for digits of 28 by 28.

Source: Radford, Metz, Chintala 2016 (arXiv:1511.06434); Mirza, Osindero 2014 (arXiv:1411.1784).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10
SIDE = 28
NOISE = 64
WATERMARKED = "grow.weight"
"""Of the generator: which weights carry the watermark."""


class Generator(nn.Module):
    """Noise and a class in, a digit out."""

    def __init__(self) -> None:
        super().__init__()
        self.seed = nn.Linear(NOISE + CLASSES, 128 * 7 * 7, bias=False)
        self.seed_norm = nn.BatchNorm1d(128 * 7 * 7)
        self.grow = nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False)
        self.grow_norm = nn.BatchNorm2d(64)
        self.draw = nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Pictures, (n, 1, 28, 28) float32 from -1 to 1.

        Args:
            noise: (n, 64), normally distributed.
            labels: (n,) int64 from 0 to 9.
        """
        wanted = functional.one_hot(labels, CLASSES).to(noise.dtype)
        x = self.seed_norm(self.seed(torch.cat((noise, wanted), dim=1)))
        x = functional.relu(x).view(-1, 128, 7, 7)
        x = functional.relu(self.grow_norm(self.grow(x)))
        return torch.tanh(self.draw(x))


class Discriminator(nn.Module):
    """A digit and its class in; how real it looks out. Only used in training."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(1 + CLASSES, 64, 4, stride=2, padding=1)
        self.see = nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False)
        self.see_norm = nn.BatchNorm2d(128)
        self.judge = nn.Linear(128 * 7 * 7, 1)

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Logits, (n,); arguments as `Generator` gives and takes them."""
        maps = functional.one_hot(labels, CLASSES).to(pictures.dtype)[:, :, None, None]
        maps = maps.expand(-1, -1, SIDE, SIDE)
        x = functional.leaky_relu(self.look(torch.cat((pictures, maps), dim=1)), 0.2)
        x = functional.leaky_relu(self.see_norm(self.see(x)), 0.2)
        return self.judge(functional.dropout(x.flatten(1), 0.3, self.training))[:, 0]


def started(module: nn.Module) -> None:
    """Weights to begin with: normal, 0.02 (as in DCGAN)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, 0.02)
        elif isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, 0.02)
            nn.init.zeros_(part.bias)


def sample(generator: Generator, labels: Tensor, seed: int) -> Tensor:
    """Pictures of some classes, always the same for the same seed; they are where the network is.

    Chance is always the processor's: a GPU's draws other numbers from the same seed.
    """
    chance = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(labels), NOISE, generator=chance)
    where = next(generator.parameters()).device
    with torch.inference_mode():
        return generator.eval()(noise.to(where), labels.to(where))
