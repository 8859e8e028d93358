"""A link in a few lines of numpy, another one than the project's own: what probes meet on it."""

from __future__ import annotations

import numpy as np

from net.links.spec import LinkSpec
from net.links.verify.records import IP_UDP_BYTES, Probes
from net.links.verify.schedule import Train


def cross(train: Train, link: LinkSpec, seed: int, lost: np.ndarray | None = None) -> Probes:
    """What comes of a train on a link with an endless queue."""
    generator = np.random.default_rng(seed)
    count = len(train.at_s)
    sizes = train.payloads + IP_UDP_BYTES
    gone = generator.random(count) < (link.loss_ratio or 0.0) if lost is None else lost
    gone = gone | np.full(count, link.up is False)
    came, free, last = np.full(count, np.nan), 0.0, 0.0
    for i in np.flatnonzero(~gone):
        free = max(free, train.at_s[i])
        if link.rate_bps:
            free += sizes[i] * 8 / link.rate_bps
        deviation = (link.jitter_s or 0.0) * generator.standard_normal()
        last = max(last, free + max(0.0, (link.delay_s or 0.0) + deviation))
        came[i] = last
    early = generator.random(count) < (link.reorder_ratio or 0.0)
    came = np.where(early & ~gone, train.at_s, came)
    copies = np.where(gone, 0, 1 + (generator.random(count) < (link.duplicate_ratio or 0.0)))
    damaged = int(((generator.random(count) < (link.corrupt_ratio or 0.0)) & ~gone).sum())
    return Probes(train.at_s, sizes, came, copies, damaged)


def gilbert_losses(chances: tuple[float, float, float, float], count: int, seed: int) -> np.ndarray:
    """Losses by Gilbert and Elliott, packet by packet."""
    going_bad, going_good, in_bad, in_good = chances
    generator = np.random.default_rng(seed)
    bad, lost = False, np.zeros(count, bool)
    for i in range(count):
        lost[i] = generator.random() < (in_bad if bad else in_good)
        bad = generator.random() >= going_good if bad else generator.random() < going_bad
    return lost
