"""Use case 1: how soon the first answer comes, how soon warm ones, and what of that is OTTER's own.

Links are unshaped, so that nothing has to be taken off for them. All modules are ready, and nothing
was asked before. The parts of OTTER's own share are in the row's note: see `accounts`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.ai import accounts
from benchmarks.ai.accounts import Account
from benchmarks.ai.use_case import use_case
from benchmarks.row import Row

WARM = 8
FIRST_GOAL_S = 10.0
WARM_GOAL_S = 3.0


def rows() -> list[Row]:
    """The first answer, warm ones, and OTTER's own share."""
    with use_case(unshaped=True) as asked:
        found = [accounts.account(query, there, {}) for query, there in asked.ask(1 + WARM)]
        first_s = asked.first_s
    warm = found[1:]
    took = [one.total_s for one in warm]
    return [
        Row(
            name="use case 1: first answer, after all modules are ready", unit="s", better="lower",
            ours=first_s, peers={}, limit=found[0].computing_s, goal=FIRST_GOAL_S, n=1,
            note="from the end of `otterctl apply`, asking by `otterctl cp` included",
        ),
        Row(
            name="use case 1: warm answer, links unshaped", unit="s", better="lower",
            ours=statistics.median(took), peers={"the slowest": max(took)},
            limit=statistics.median(one.computing_s for one in warm), goal=WARM_GOAL_S, n=WARM,
        ),
        own(warm, "links unshaped"),
    ]  # fmt: skip


def own(found: Sequence[Account], links: str) -> Row:
    """What of queries was OTTER's own."""
    shares = [one.own_s for one in found]
    return Row(
        name=f"use case 1: OTTER's own share of a query, {links}", unit="s", better="lower",
        ours=statistics.median(shares), peers={"the largest": max(shares)}, limit=0.0,
        goal=accounts.goal_s(found), n=len(found), note=accounts.told(found),
    )  # fmt: skip
