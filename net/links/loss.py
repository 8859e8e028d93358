"""Which packets a link loses: independent, correlated, Gilbert-Elliott, four states. Pure.

    Gilbert-Elliott          four states: 1 fine, 3 burst, 2 fine in a burst, 4 a single loss
          p                          p14              p13               p32
    good ───► bad              4 ◄──────── 1 ────────────► 3 ────────────► 2
      ▲   r    │                 ────────►   ◄────────────    ◄────────────
      └────────┘                    1              p31              p23

Source: tc-netem(8); loss_gilb_ell() and loss_4state() of the kernel's net/sched/sch_netem.c; S.
Salsano, F. Ludovici, A. Ordine, "Definition of a general and intuitive loss model for packet
networks and its implementation in the Netem module in the Linux kernel", 2009.
"""

from __future__ import annotations

from collections.abc import Callable

from net.links.chance import Draw
from net.links.spec import LinkSpec

Loss = Callable[[], bool]
"""Whether the next packet is lost."""
Chain = tuple[float, float, float, float]
"""Gilbert-Elliott: going bad, going good again, loss while bad, loss while good."""


def loss(spec: LinkSpec, draw: Draw) -> Loss | None:
    """How a direction loses packets; None: it doesn't."""
    if spec.loss_gilbert is not None:
        going_bad, going_good, while_bad, while_good = spec.loss_gilbert
        return gilbert((going_bad, going_good, while_bad, while_good), draw)
    if spec.loss_markov is not None:
        return _four_states(spec.loss_markov, draw)
    return chance(spec.loss_ratio, spec.loss_correlation, draw)


def chance(ratio: float | None, correlation: float | None, draw: Draw) -> Loss | None:
    """Something that happens to a share of packets; None: never."""
    if not ratio:
        return None
    if ratio >= 1:
        return lambda: True
    if correlation:
        return gilbert(correlated(ratio, correlation), draw)
    return lambda: draw() < ratio


def correlated(ratio: float, correlation: float) -> Chain:
    """The Gilbert-Elliott chain of which a share `ratio` is hit, correlated with the one before.

    The kernel's own correlation averages each random number with the last, so that small ratios
    hit hardly anything (tc-netem(8) says so); this chain has exactly the ratio and correlation.
    """
    return (ratio * (1 - correlation), (1 - ratio) * (1 - correlation), 1.0, 0.0)


def gilbert(chain: Chain, draw: Draw) -> Loss:
    """Two states; the loss is that of the state in which the packet finds the link.

    It starts in the state `good`, with a correlated loss as if it always had been under way.
    """
    going_bad, going_good, while_bad, while_good = chain
    total = going_bad + going_good
    certain = while_bad >= 1 and while_good <= 0
    bad = certain and total > 0 and draw() * total < going_bad

    def lost() -> bool:
        nonlocal bad
        hit = while_bad if bad else while_good
        leaves = draw() < (going_good if bad else going_bad)
        now_lost = hit > 0 and (hit >= 1 or draw() < hit)
        if leaves:
            bad = not bad
        return now_lost

    return lost


def _four_states(chances: tuple[float, ...], draw: Draw) -> Loss:
    p13, p31, p32, p23, p14 = chances
    state = 1

    def lost() -> bool:
        nonlocal state
        drawn = draw()
        if state == 1:
            if drawn < p14:
                state = 4
            elif drawn < p14 + p13:
                state = 3
        elif state == 2:
            if drawn < p23:
                state = 3
        elif state == 3:
            if drawn < p32:
                state = 2
            elif drawn < p32 + p31:
                state = 1
        else:
            state = 1
        return state >= 3

    return lost
