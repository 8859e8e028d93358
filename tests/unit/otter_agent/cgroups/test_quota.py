"""CFS quotas, and an order of writes that cgroup v1's rules accept."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent.cgroups.quota import Node, Quota, lower, plan


@pytest.mark.parametrize(
    ("cores", "quota_us", "period_us"),
    [
        (0.5, 2_500, 5_000),
        (0.2, 1_000, 5_000),
        (0.19, 1_140, 6_000),
        (0.1, 1_000, 10_000),
        (0.05, 1_000, 20_000),
        (0.01, 1_000, 100_000),
        (0.001, 1_000, 1_000_000),
        (1, 5_000, 5_000),
        (64, 320_000, 5_000),
    ],
)
def test_period_is_short_and_the_quota_at_least_a_millisecond(cores, quota_us, period_us):
    assert Quota.of_cores(cores) == Quota(quota_us, period_us)


@pytest.mark.parametrize("cores", [0, -1, 0.0009, math.inf, math.nan])
def test_what_the_kernel_cannot_do_is_refused(cores):
    with pytest.raises(ValueError, match="minimum"):
        Quota.of_cores(cores)


@given(st.integers(1, 64_000))
def test_three_decimals_are_exact(millicores):
    quota = Quota.of_cores(millicores / 1000)
    assert quota.quota_us * 1000 == millicores * quota.period_us
    assert quota.quota_us >= 1_000
    assert 5_000 <= quota.period_us <= 1_000_000


def test_lower():
    small, large = Quota.of_cores(0.1), Quota.of_cores(2)
    assert lower(small, large) == lower(large, small) == lower(small, None) == small
    assert lower(None, None) is None


class KernelV1:
    """The rules of `tg_cfs_schedulable_down` (kernel/sched/core.c) for cgroup v1."""

    def __init__(self, top: Node, limit: Quota | None) -> None:
        self.quota: dict[str, Quota | None] = {"above": limit}
        self.parent = {}
        self._add(top, "above")

    def _add(self, node: Node, parent: str) -> None:
        self.quota[node.name], self.parent[node.name] = node.current, parent
        for child in node.children:
            self._add(child, node.name)

    def check(self) -> None:
        effective = {"above": self.quota["above"]}
        for name, parent in self.parent.items():
            own, above = self.quota[name], effective[parent]
            if own is not None and above is not None:
                assert own.ratio <= above.ratio, f"EINVAL: {name} above its parent"
            effective[name] = above if own is None else own


cores = st.one_of(st.none(), st.integers(1, 4000).map(lambda m: Quota.of_cores(m / 1000)))


@st.composite
def trees(draw, depth: int = 3) -> Node:
    count = draw(st.integers(0, 3)) if depth else 0
    children = [draw(trees(depth=depth - 1)) for _ in range(count)]
    return Node(draw(st.uuids()).hex, draw(cores), None, children)


def settle(kernel: KernelV1, top: Node, limit: Quota | None) -> None:
    """Make `plan`'s writes, each allowed by the kernel, and note them in the tree."""
    nodes = {}

    def note(node: Node) -> None:
        nodes[node.name] = node
        for child in node.children:
            note(child)

    note(top)
    for step in plan(top, limit):
        kernel.quota[step.name] = nodes[step.name].current = step.target
        kernel.check()


@pytest.mark.slow
@given(trees(), cores, st.lists(cores, max_size=4))
def test_any_change_of_a_host_is_accepted_and_modules_get_their_own_back(top, limit, changes):
    kernel = KernelV1(top, limit)
    settle(kernel, top, limit)
    for wanted in [*changes, None]:
        top.want = wanted
        settle(kernel, top, limit)
        assert plan(top, limit) == []  # nothing left to do
    in_force = kernel.quota[top.name]
    assert in_force == limit
    for child in top.children:
        assert kernel.quota[child.name] == lower(child.want, in_force)
