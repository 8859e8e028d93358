"""What the plan expects of streams and links: the formulas by hand, and through a topology."""

from __future__ import annotations

import math
import random
from dataclasses import asdict
from statistics import NormalDist

import pytest

from net.links.spec import LinkSpec
from otter_agent.api import Link
from otter_ctl.planning.crossing import Beneath, Crossing
from otter_ctl.planning.latency import (
    HOP_S,
    OWN_S,
    OWN_S_PER_BYTE,
    OWN_S_PER_DATAGRAM,
    held_s,
    jitter,
    message_s,
    wire_bytes,
)
from otter_ctl.planning.placement import Placement
from otter_ctl.planning.prediction import forecast
from otter_ctl.planning.resolve import seated
from otter_ctl.planning.waiting import Other, median_wait_s
from otter_ctl.planning.windows import SEGMENT_BYTES, Pacing, paced, window_bytes
from otter_ctl.topology.model import Stream


def spec(delay_ms: float = 0, mbit: float | None = None, **more) -> LinkSpec:
    rate = None if mbit is None else mbit * 1e6
    return LinkSpec(delay_s=delay_ms / 1e3, rate_bps=rate, **more)


def both(name: str, a: str, b: str, there: LinkSpec, back: LinkSpec | None = None) -> Link:
    return Link(name=name, a=a, b=b, forward=there, reverse=back or there)


def test_a_small_message_takes_the_delays_and_its_bits():
    one_packet = wire_bytes(1000)
    assert one_packet == 1000 + 96 + 52
    took = message_s([spec(20, 1), spec(5)], 1000)
    own = OWN_S + 2 * HOP_S + 1000 * OWN_S_PER_BYTE
    assert took == pytest.approx(own + 0.025 + 8 * one_packet / 1e6)


def test_what_wakes_up_takes_as_long_as_where_it_is():
    """Twice at a, three times at b: between them, 2.5 times."""
    paces = {"a": 2.0, "b": 3.0}
    links = [both("l", "a", "b", spec(10))]
    beneath = Beneath(tunnel_s=lambda one, other: 0.0002)
    crossing = Crossing("ab", links, beneath)
    streams = [stream("one", "two", 1000, 1)]
    seats = {"one": "a", "two": "b"}
    (found,) = forecast(streams, seats, crossing, paces.__getitem__).streams
    assert found.parts.transport_s == pytest.approx(2.5 * (OWN_S + 1000 * OWN_S_PER_BYTE))
    assert found.parts.driver_s == pytest.approx(2 * HOP_S)
    assert found.parts.tunnel_s == pytest.approx(2.5 * 0.0002)
    assert found.parts.delay_s == 0.01
    (same,) = forecast(streams, {"one": "a", "two": "a"}, crossing, paces.__getitem__).streams
    assert same.latency_s == pytest.approx(2 * (OWN_S + 1000 * OWN_S_PER_BYTE))


def test_datagrams_cost_modules_one_by_one():
    more = message_s([spec(20)], 6000, udp=True) - message_s([spec(20)], 6000)
    assert more == pytest.approx(5 * OWN_S_PER_DATAGRAM)


def test_a_large_one_crosses_slow_links_once_and_others_by_a_packet():
    size = 1_000_000
    took = message_s([spec(0, 100), spec(0, 10), spec(0, 50)], size)
    by_hand = 8 * wire_bytes(size) / 10e6 + 8 * 1500 / 50e6 + 8 * 1500 / 100e6
    assert took == pytest.approx(OWN_S + 3 * HOP_S + size * OWN_S_PER_BYTE + by_hand)


def test_tcp_waits_for_its_window_on_long_paths_only():
    """100 kB at 100 Mbit/s, 100 ms there and back: windows of 14, 29 and 58 kB, three waits."""
    grown, fresh = (message_s([spec(50, 100)], 100_000, rtt_s=rtt) for rtt in (0, 0.1))
    windows = [14_480 * 2**n for n in range(3)]
    stalls = sum(0.1 + 8 * (1500 - window) / 100e6 for window in windows)
    assert fresh - grown == pytest.approx(stalls)
    short = [message_s([spec(0.1, 1)], 100_000, rtt_s=rtt) for rtt in (0, 0.0002)]
    assert short[0] == short[1], "the link is slower than its acknowledgements"


def test_jitter_holds_up_what_has_many_packets():
    """The latest of n at once: its median is where F is the n-th root of a half."""
    jittery = spec(10, jitter_s=0.002)
    assert held_s(jittery, 100, math.inf) == pytest.approx(0, abs=1e-5)
    for packets in (2, 10, 100):
        by_hand = 0.002 * NormalDist().inv_cdf(0.5 ** (1 / packets))
        assert held_s(jittery, packets * 1500, math.inf) == pytest.approx(by_hand, rel=0.02)
    spaced = [held_s(jittery, 1e6, rate) for rate in (1e9, 1e8, 1e7, 1e5)]
    assert spaced == sorted(spaced, reverse=True), "the further apart, the less they hold up"
    assert spaced[-1] == pytest.approx(0, abs=1e-4)
    assert held_s(spec(10), 1e6, 1e6) == 0


def test_a_window_is_halved_for_each_timeout_between_messages():
    """Of 100 segments: all at once, a third of it, and the first window's ten."""
    wire = 100 * SEGMENT_BYTES
    assert window_bytes(wire, 0.02, 0.2) == math.inf
    assert window_bytes(wire, 0.02, 0.3) == wire
    assert window_bytes(wire, 0.02, 0.5) == pytest.approx(wire / 3)
    assert window_bytes(wire, 0.02, 10) == window_bytes(wire, 0.02, None) == 10 * SEGMENT_BYTES


def test_a_sender_that_paces_spreads_a_message_over_a_part_of_the_round_trip():
    """200 kB, 10 ms there and back: as long as it takes at 2.86 times what was seen of it."""
    wire = wire_bytes(200_000)
    pacing = paced(wire, 0.010)
    seen_bps = 8 * wire / (0.010 + pacing.spread_s)
    behind = wire - 1500 * (pacing.last + pacing.chunk / 2)
    assert pacing.spread_s == pytest.approx(behind * 8 / (2.858 * seen_bps), rel=0.02)
    assert 0.0032 < pacing.spread_s < 0.0038, "3.5 ms were measured"
    assert paced(100, 0.010).spread_s == 0
    assert paced(wire, 0).spread_s == 0
    shown = message_s([spec(5)], 200_000, rtt_s=0.01, every_s=0.3, congestion="bbr")
    plain = message_s([spec(5)], 200_000, rtt_s=0.01, every_s=0.3, congestion="cubic")
    assert shown - plain == pytest.approx(pacing.spread_s)
    slow = [
        message_s([spec(5, 10)], 200_000, rtt_s=0.01, every_s=0.3, congestion=name)
        for name in ("bbr", "cubic")
    ]
    assert slow[0] == pytest.approx(slow[1]), "the link is slower than the sender"


@pytest.mark.slow
def test_few_that_wait_move_the_median_where_there_is_jitter():
    """A tenth of messages meets somebody: by itself that moves nothing."""
    others, scale_s = [Other(0.1, 0.050)], 0.002
    late = jitter(spec(10, jitter_s=scale_s), 100, math.inf, Pacing())
    dice = random.Random(2)
    came = sorted(
        dice.gauss(0, scale_s) + (dice.uniform(0, 0.050) / 0.9 if dice.random() < 0.1 else 0.0)
        for _ in range(40_000)
    )
    assert median_wait_s(others) == 0
    assert median_wait_s(others, late) == pytest.approx(came[20_000], rel=0.2)
    assert 0.0002 < came[20_000] < 0.0005


def test_waiting_is_the_median_of_what_is_left_of_others():
    others = [Other(0.3, 0.010), Other(0.35, 0.004)]
    dice = random.Random(1)
    met = sorted(
        sum(dice.uniform(0, o.service_s) for o in others if dice.random() < o.busy)
        for _ in range(20_000)
    )
    assert median_wait_s(others) == pytest.approx(met[10_000] / (1 - 0.65), rel=0.1)
    assert median_wait_s(others[:1]) == median_wait_s([]) == 0


class TestPaths:
    LINKS = (
        both("slow", "a", "b", spec(50)),
        both("first", "a", "c", spec(10), spec(30)),
        both("second", "c", "b", spec(10)),
        Link(name="down", a="b", b="d", forward=spec(1), reverse=None),
    )

    def crossing(self) -> Crossing:
        return Crossing("abcde", self.LINKS)

    def test_they_are_those_of_least_delay_each_way(self):
        crossing = self.crossing()
        assert [step.link for step in crossing.path("a", "b") or ()] == ["first", "second"]
        back = crossing.path("b", "a") or ()
        assert [(step.link, step.spec.delay_s) for step in back] == [
            ("second", 0.01),
            ("first", 0.03),
        ]
        assert crossing.path("a", "a") == ()
        assert crossing.path("a", "e") is None

    def test_tcp_needs_a_way_back(self):
        crossing = self.crossing()
        assert math.isinf(crossing.message_s("a", "d", 10))
        assert crossing.message_s("a", "d", 10, tcp=False) < 0.022
        assert math.isinf(crossing.message_s("a", "e", 10))


def stream(source: str, target: str, size: int, per_s: float | None, **more) -> Stream:
    return Stream(
        source=source,
        output="out",
        target=target,
        input="in",
        expect_bytes=size,
        expect_per_s=per_s,
        **more,
    )


class TestForecast:
    SEATS = {"camera": "a", "detector": "b", "other": "a"}  # noqa: RUF012

    def crossing(self, mbit: float = 10) -> Crossing:
        return Crossing("ab", [both("radio", "a", "b", spec(10, mbit))])

    def test_of_one_stream(self):
        frames = stream("camera", "detector", 100_000, 5)
        found = forecast([frames], self.SEATS, self.crossing())
        (of_stream,), (of_link,) = found.streams, found.links
        bps = 8 * 5 * wire_bytes(100_000)
        assert (of_link.link, of_link.source, of_link.target) == ("radio", "a", "b")
        assert of_link.expected_bps == pytest.approx(bps)
        assert of_link.utilisation == pytest.approx(bps / 10e6)
        assert of_stream.links == ("radio",)
        assert of_stream.expected
        alone = message_s([spec(10, 10)], 100_000)
        assert of_stream.latency_s == pytest.approx(alone), "no slow start at 5 a second"
        assert list(found.warnings()) == []

    def test_two_wait_for_each_other_where_most_meet_somebody(self):
        seats = {**self.SEATS, "third": "a"}
        names = ("camera", "other", "third")
        for size, waits in ((5_000, False), (14_000, True)):
            streams = [stream(m, "detector", size, 27) for m in names]
            found = forecast(streams, seats, self.crossing())
            service_s = 8 * wire_bytes(size) / 10e6
            busy = 27 * service_s
            assert ((1 - busy) ** 2 < 0.5) == waits
            wait_s = median_wait_s([Other(busy, service_s)] * 2)
            assert (wait_s > 0) == waits
            alone = message_s([spec(10, 10)], size)
            assert [s.latency_s for s in found.streams] == pytest.approx([alone + wait_s] * 3)

    def test_others_get_between_the_packets_of_a_sender_that_paces(self):
        """Of those that come each 20 ms one, while a large one leaves; of each second none."""
        beneath = Beneath(congestion=lambda host: "bbr")
        crossing = Crossing("ab", [both("radio", "a", "b", spec(20, 20))], beneath)
        large = stream("camera", "detector", 100_000, 2)
        alone = forecast([large], self.SEATS, crossing).streams[0].latency_s
        spread_s = crossing.took("a", "b", 100_000, every_s=0.5).spread_s
        assert 0.02 < spread_s < 0.03
        for per_s, often in ((50, 1), (1, 0)):
            small = stream("other", "detector", 5_000, per_s)
            found = forecast([large, small], self.SEATS, crossing)
            service_s = 8 * wire_bytes(5_000) / 20e6
            assert found.streams[0].latency_s == pytest.approx(alone + often * service_s)

    def test_a_link_that_is_shaped_in_user_space_carries_no_more_than_that(self):
        slow = Crossing("ab", [both("l", "a", "b", spec(10))], Beneath(carries_bps=lambda _: 1e9))
        free = Crossing("ab", [both("l", "a", "b", spec(10))])
        more = slow.message_s("a", "b", 1e6, tcp=False) - free.message_s("a", "b", 1e6, tcp=False)
        assert more == pytest.approx(8 * wire_bytes(1e6) / 1e9)
        plain = Crossing(
            "ab", [both("l", "a", "b", LinkSpec())], Beneath(carries_bps=lambda _: 1e9)
        )
        assert plain.path("a", "b")[0].rate_bps == math.inf, "nobody shapes it"

    def test_the_network_between_machines_is_in_it(self):
        near = Crossing("ab", [both("l", "a", "b", spec(10))])
        far = Crossing("ab", [both("l", "a", "b", spec(10))], Beneath(real_s=lambda a, b: 0.003))
        assert far.message_s("a", "b", 100) - near.message_s("a", "b", 100) == pytest.approx(0.003)

    def test_what_the_network_has_already_and_is_taken_off_is_not_counted_twice(self):
        """Its tunnel is: getting into and out of that is on top of what is asked."""
        beneath = Beneath(real_s=lambda a, b: 0.003, tunnel_s=lambda a, b: 0.0002)
        for delay_ms, left in ((10, 0.0), (1, 0.002)):
            asked = Link(name="l", a="a", b="b", forward=spec(delay_ms), reverse=spec(delay_ms),
                         subtract=True)  # fmt: skip
            parts = Crossing("ab", [asked], beneath).took("a", "b", 100).parts
            assert parts is not None
            assert parts.network_s == pytest.approx(left)
            assert parts.tunnel_s == 0.0002

    def test_what_the_network_between_machines_carries_is_a_rate_too(self):
        """A link without properties is that network; one that is quicker waits for it."""
        beneath = Beneath(
            tunnel_s=lambda a, b: 0.0001, real_bps=lambda a, b: 20e6, carries_bps=lambda h: 1e9
        )
        for asked in (LinkSpec(), spec(10, 100), spec(10)):
            crossing = Crossing("ab", [both("l", "a", "b", asked)], beneath)
            parts = crossing.took("a", "b", 100_000, tcp=False).parts
            assert parts is not None
            assert parts.rate_s == pytest.approx(8 * wire_bytes(100_000) / 20e6, rel=0.03)
        packet = Crossing("ab", [both("l", "a", "b", spec(10, 5))], beneath)
        parts = packet.took("a", "b", 100_000, tcp=False).parts
        assert parts is not None
        by_hand = wire_bytes(100_000) / 5e6 + 1500 / 20e6 + 1500 / 1e9
        assert parts.rate_s == pytest.approx(8 * by_hand), "cut into packets by then"

    def test_its_parts_are_all_of_it(self):
        jittery = spec(10, 10, jitter_s=0.001)
        beneath = Beneath(
            real_s=lambda a, b: 0.003, tunnel_s=lambda a, b: 0.0002, congestion=lambda host: "bbr"
        )
        crossing = Crossing("ab", [both("radio", "a", "b", jittery)], beneath)
        streams = [stream("camera", "detector", 50_000, 5), stream("other", "detector", 90_000, 9)]
        (found, _) = forecast(streams, self.SEATS, crossing).streams
        parts = found.parts
        assert parts is not None
        assert parts.seconds == found.latency_s
        told = asdict(parts)
        assert sum(told.values()) == pytest.approx(found.latency_s)
        assert told["delay_s"] == 0.010
        assert told["network_s"] == 0.003
        assert told["rate_s"] == pytest.approx(8 * wire_bytes(50_000) / 10e6)
        assert told["waiting_s"] > 0, "most of its messages meet one of the other's"
        assert told["jitter_s"] > 0

    def test_more_than_the_link_carries(self):
        frames = stream("camera", "detector", 100_000, 30)
        found = forecast([frames], self.SEATS, self.crossing())
        assert found.streams[0].latency_s is None
        (warning,) = found.warnings()
        assert "link radio" in warning
        assert "from a to b, which carries 10" in warning

    def test_loss_is_told(self):
        crossing = Crossing("ab", [both("radio", "a", "b", spec(10, 10, loss_ratio=0.05))])
        (found,) = forecast([stream("camera", "detector", 10, 1)], self.SEATS, crossing).streams
        assert found.approximate == "loses packets on radio"


PIPELINE = """
name = "pipeline"
[defaults.module]
runtime = "process"
[hosts.phone]
cpu = 1
[hosts.edge]
cpu = 2
[hosts.cloud]
cpu = 64
[[links]]
between = ["phone", "edge"]
delay = "5ms"
rate = "20mbit"
[[links]]
between = ["edge", "cloud"]
delay = "40ms"
[modules.camera]
command = ["true"]
host = "phone"
cpu = 0.5
[modules.detector]
command = ["true"]
cpu = 1.5
[modules.tracker]
command = ["true"]
cpu = 0.5
[[streams]]
from = "camera.frames"
to = "detector.frames"
expect = { message = "40kB", every = "100ms" }
[[streams]]
from = "detector.boxes"
to = "tracker.boxes"
"""


def placement(read, text: str) -> Placement:
    found, _ = seated(read(text))
    return found


def test_a_pipeline_is_placed_near_its_camera(read):
    assert placement(read, PIPELINE).seats == {
        "camera": "phone",
        "detector": "edge",
        "tracker": "edge",
    }


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ('among = "cloud"', "cloud"),
        ('among = ["cl*", "phone"]', "phone"),
        ('apart = "detector"', "phone"),
        ('apart = ["detector", "camera"]', "cloud"),
        ('beside = "camera"', "phone"),
    ],
)
def test_keys_of_modules_say_where(read, key, where):
    text = PIPELINE.replace("[modules.tracker]", f"[modules.tracker]\n{key}")
    assert placement(read, text).seats["tracker"] == where


def test_counts_are_apart_from_each_other(read):
    text = PIPELINE.replace(
        "[modules.tracker]",
        '[modules.worker]\ncommand = ["true"]\ncount = 3\napart = "worker-*"\n[modules.tracker]',
    )
    seats = placement(read, text).seats
    assert len({seats[f"worker-{n}"] for n in (1, 2, 3)}) == 3


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("cpu = 0.5\n[[", 'apart = "detectr"\n[[', "unknown module `detectr`"),
        ("cpu = 0.5\n[[", 'among = "moon"\n[[', "unknown host `moon`"),
        ('host = "phone"', 'host = "phone"\namong = "edge"', "goes not with `host`"),
        ("cpu = 0.5\n[[", 'beside = "camera"\napart = "camera"\n[[', "is in `beside` too"),
        ('host = "phone"', 'host = "phone"\non = { arch = "arm64" }', "goes not with `host`"),
        (
            'host = "phone"',
            'host = "phone"\n[modules.near]\ncommand = ["true"]\nhost = "edge"\nbeside = "camera"',
            "`near` is on `edge`, `camera` on `phone`",
        ),
        (
            'host = "phone"',
            'host = "phone"\n[modules.far]\ncommand = ["true"]\nhost = "phone"\napart = "camera"',
            "`far` and `camera` are both on `phone`",
        ),
        (
            "cpu = 0.5\n[[",
            'beside = "x"\n[modules.x]\ncommand = ["true"]\nbeside = "camera"\n'
            '[modules.y]\ncommand = ["true"]\nbeside = "camera"\napart = "x"\n[[',
            "`y` and `x` must be on one host, by `beside`",
        ),
        ('name = "pipeline"', 'name = "p"\nplacement = "best"', "is not greedy, optimal or"),
        ('message = "40kB", ', "", "message"),
    ],
)
def test_what_makes_no_sense_is_said(problems, old, new, says):
    assert old in PIPELINE
    found = problems(PIPELINE.replace(old, new, 1))
    assert any(says in str(error) for error in found), [str(error) for error in found]
