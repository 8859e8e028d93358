"""What the plan expects of streams and links: the formulas by hand, and through a topology."""

from __future__ import annotations

import math

import pytest

from net.links.spec import LinkSpec
from otter_agent.api import Link
from otter_ctl.planning.crossing import (
    OWN_S,
    OWN_S_PER_BYTE,
    Crossing,
    message_s,
    wire_bytes,
)
from otter_ctl.planning.placement import Placement
from otter_ctl.planning.prediction import forecast
from otter_ctl.planning.resolve import seated
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
    assert took == pytest.approx(OWN_S + 1000 * OWN_S_PER_BYTE + 0.025 + 8 * one_packet / 1e6)


def test_a_large_one_crosses_slow_links_once_and_others_by_a_packet():
    size = 1_000_000
    took = message_s([spec(0, 100), spec(0, 10), spec(0, 50)], size)
    by_hand = 8 * wire_bytes(size) / 10e6 + 8 * 1500 / 50e6 + 8 * 1500 / 100e6
    assert took == pytest.approx(OWN_S + size * OWN_S_PER_BYTE + by_hand)


def test_tcp_waits_for_its_window_on_long_paths_only():
    """100 kB at 100 Mbit/s, 100 ms there and back: windows of 14, 29 and 58 kB, three waits."""
    grown, fresh = (message_s([spec(50, 100)], 100_000, rtt_s=rtt) for rtt in (0, 0.1))
    windows = [14_480 * 2**n for n in range(3)]
    stalls = sum(0.1 + 8 * (1500 - window) / 100e6 for window in windows)
    assert fresh - grown == pytest.approx(stalls)
    short = [message_s([spec(0.1, 1)], 100_000, rtt_s=rtt) for rtt in (0, 0.0002)]
    assert short[0] == short[1], "the link is slower than its acknowledgements"


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

    def test_two_wait_for_each_other(self):
        streams = [stream(m, "detector", 10_000, 20) for m in ("camera", "other")]
        found = forecast(streams, self.SEATS, self.crossing())
        service_s = 8 * wire_bytes(10_000) / 10e6
        load = 40 * service_s
        wait_s = service_s * load / (2 - 2 * load)
        alone = message_s([spec(10, 10)], 10_000)
        assert [s.latency_s for s in found.streams] == pytest.approx([alone + wait_s] * 2)

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
