"""Packets that wait for each other's jitter: told where it matters, and by how much."""

from __future__ import annotations

import statistics

import pytest

from net.links.chance import chances
from net.links.model import Model
from net.links.spec import LinkSpec
from otter_ctl.planning.crowding import MOST, added_s, crowding_lines
from otter_ctl.planning.resolve import plan

LINK = """\
name = "m"
[hosts.a]
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
delay = "20ms"
jitter = "2ms"
rate = "{rate}"
{more}
"""


def test_a_link_that_is_denser_than_its_jitter_is_told(read):
    topology = read(LINK.format(rate="50mbit", more=""))
    (line,) = crowding_lines(topology)  # both directions are alike
    assert line.startswith("link radio: full packets at 50mbit come 0.24 ms apart and keep their ")
    assert "jitter 2ms makes the median delay 22.2 ms" in line
    made = plan(topology, current=None, runtime_default="fake", blobs={}, run="r")
    assert made.crowding == (line,)


@pytest.mark.parametrize(
    ("rate", "more"),
    [("24mbit", ""), ("50mbit", "jitter_correlation = 0.5"), ("1mbit", "")],
)
def test_others_are_not(read, rate, more):
    """Four packets in a jitter are no more than four; what isn't known isn't said."""
    assert crowding_lines(read(LINK.format(rate=rate, more=more))) == ()
    assert added_s(LinkSpec(delay_s=0.02, jitter_s=0.002)) == 0.0


def test_many_are_counted(read):
    links = "".join(
        f'[[links]]\nname = "l{n}"\nbetween = ["a", "b"]\ndelay = "20ms"\njitter = "2ms"\n'
        f'rate = "{50 + n}mbit"\n'
        for n in range(MOST + 2)
    )
    lines = crowding_lines(read(f'name = "m"\n[hosts.a]\n[hosts.b]\n{links}'))
    assert len(lines) == MOST + 1
    assert lines[-1] == "and 2 more links likewise"


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["normal", "uniform", "pareto"])
def test_it_is_what_packets_take(distribution):
    """The model that both drivers follow, full at 120 Mbit/s: a packet each 0.1 ms."""
    spec = LinkSpec(delay_s=0.02, jitter_s=0.002, jitter_distribution=distribution, rate_bps=120e6)
    model, gap_s, count = Model(spec, chances(3, "l")), 1e-4, 30_000
    for number in range(count):
        model.offer([number.to_bytes(4, "big") + bytes(1496)], number * gap_s)
    delays = [at - int.from_bytes(one[:4], "big") * gap_s for at, one in model.take(1e9)]
    assert len(delays) == count
    sent_s = 8 * 1500 / 120e6
    found_s = statistics.median(delays) - sent_s - 0.02
    assert added_s(spec) == pytest.approx(found_s, abs=0.0002)
