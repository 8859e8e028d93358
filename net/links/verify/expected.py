"""What probes of a link that does exactly as asked would show. Pure.

Packets' chances of loss are a chain of states (tc-netem(8)); shares, lengths of bursts, and how
much less a bursty series tells follow from the chain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from net.links.jitter import entries_of
from net.links.loss import correlated
from net.links.spec import LinkSpec
from net.links.verify.intervals import Numbers

_LAGS = 2000
"""Packets after which a loss no longer tells anything of the next."""


@dataclass(frozen=True, slots=True)
class Chain:
    """States that a packet may find, and the chance of loss in each."""

    moves: NDArray[np.float64]
    loss: NDArray[np.float64]

    def stationary(self) -> NDArray[np.float64]:
        """How much of the time is spent in each state."""
        # From the first state on, as a link begins; half of the time a step stays where it is, so
        # that chains settle that would go to and fro for ever.
        slow = (np.eye(len(self.loss)) + self.moves) / 2
        return np.asarray(np.linalg.matrix_power(slow, 1 << 20)[0])

    @property
    def ratio(self) -> float:
        """Share of packets lost, in the long run."""
        return float(self.stationary() @ self.loss)

    @property
    def burst(self) -> float:
        """Mean number of packets lost one after the other; 0 if none ever is."""
        share = self.stationary()
        begins = float((share * (1 - self.loss)) @ self.moves @ self.loss)
        return self.ratio / begins if begins > 0 else 0.0

    @property
    def inflation(self) -> float:
        """Variance of the share lost, over that of independent losses."""
        share, ratio = self.stationary(), self.ratio
        if not 0 < ratio < 1:
            return 1.0
        row, total = share * self.loss, 0.0
        for _ in range(_LAGS):
            row = row @ self.moves
            covariance = float(row @ self.loss) - ratio * ratio
            total += covariance
            if abs(covariance) < 1e-9:
                break
        return max(1.0, 1 + 2 * total / (ratio * (1 - ratio)))


def chain(asked: LinkSpec) -> Chain:
    """The chain that a link is asked to lose packets by; one state, if they are independent."""
    if asked.loss_gilbert is not None:
        p, r, bad, good = asked.loss_gilbert
        return Chain(np.array([[1 - p, p], [r, 1 - r]]), np.array([good, bad]))
    if asked.loss_markov is not None:
        p13, p31, p32, p23, p14 = asked.loss_markov
        moves = np.array(
            [
                [1 - p13 - p14, 0, p13, p14],
                [0, 1 - p23, p23, 0],
                [p31, p32, 1 - p31 - p32, 0],
                [1, 0, 0, 0],
            ]
        )
        return Chain(np.clip(moves, 0, 1), np.array([0.0, 0.0, 1.0, 1.0]))
    if asked.loss_ratio and asked.loss_ratio < 1 and asked.loss_correlation:
        return chain(LinkSpec(loss_gilbert=correlated(asked.loss_ratio, asked.loss_correlation)))
    return Chain(np.ones((1, 1)), np.array([asked.loss_ratio or 0.0]))


def deviations(asked: LinkSpec) -> Numbers | None:
    """Deviations from the delay that are equally likely, in seconds; None: none are asked for.

    No delay is below zero, so no deviation is below minus the delay.
    """
    if not asked.jitter_s:
        return None
    return np.maximum(np.array(entries_of(asked)) * asked.jitter_s, -(asked.delay_s or 0.0))


def widest_s(asked: LinkSpec) -> float:
    """How far apart two packets of one moment may come by the jitter, all but always."""
    return 8.0 * (asked.jitter_s or 0.0)
