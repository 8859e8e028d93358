"""The traffic module's schedules, settings, counts, and what it reads of captures."""

from __future__ import annotations

import io
import itertools

import dpkt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.traffic import recorded, schedules, settings
from modules.traffic.counts import Arrived
from net import pcapng

# --- schedules -------------------------------------------------------------------------------


def first(schedule, count):
    return list(itertools.islice(schedule, count))


def rate_of(packets):
    return sum(size for _, size in packets[:-1]) * 8 / packets[-1][0]


def test_constant_is_even():
    found = first(schedules.constant(1e6, 1250), 5)
    assert [at for at, _ in found] == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])


def test_poisson_has_its_rate_and_no_memory():
    found = first(schedules.poisson(1e6, 1250, seed=3), 20_000)
    gaps = np.diff([at for at, _ in found])
    assert rate_of(found) == pytest.approx(1e6, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03


def test_on_off_has_half_the_rate_if_it_is_off_as_long_as_on():
    found = first(schedules.on_off(1e6, 1250, 0.1, 0.1, seed=3), 50_000)
    assert rate_of(found) == pytest.approx(0.5e6, rel=0.1)
    gaps = np.diff([at for at, _ in found])
    assert np.median(gaps) == pytest.approx(0.01)
    assert gaps.min() > 0


def test_seeds_make_schedules_again():
    one, same, other = (first(schedules.poisson(1e6, 100, seed=s), 9) for s in (1, 1, 2))
    assert one == same != other


def test_a_replay_is_faster_and_comes_again():
    packets = [(0.0, 100), (1.0, 200), (2.0, 300)]
    assert list(schedules.replay(packets, 2.0, loop=False)) == [(0.0, 100), (0.5, 200), (1.0, 300)]
    again = first(schedules.replay(packets, 1.0, loop=True), 5)
    assert again == [*packets, (3.0, 100), (4.0, 200)]
    assert first(schedules.replay([(0.0, 100)], 1.0, loop=True), 2) == [(0.0, 100), (1.0, 100)]


# --- captures --------------------------------------------------------------------------------


def pcap(packets, **how):
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file, **how)
    for at, data in packets:
        writer.writepkt(data, ts=at)
    return file.getvalue()


WRITTEN = [(1_700_000_000.25, b"x" * 64), (1_700_000_000.75, b"y" * 1500)]
READ = [(0.0, 50), (0.5, 1486)]


@pytest.mark.parametrize("nano", [False, True])
def test_pcap_is_read(nano):
    found = recorded.packets(pcap(WRITTEN, nano=nano))
    assert [size for _, size in found] == [50, 1486]
    assert [at for at, _ in found] == pytest.approx([0.0, 0.5], abs=1e-5)


def test_raw_packets_have_no_header_of_a_link():
    data = pcap(WRITTEN, linktype=dpkt.pcap.DLT_RAW)
    assert [size for _, size in recorded.packets(data)] == [64, 1500]


def test_pcapng_of_others_is_read():
    file = io.BytesIO()
    writer = dpkt.pcapng.Writer(file)
    for at, data in WRITTEN:
        writer.writepkt(data, ts=at)
    found = recorded.packets(file.getvalue())
    assert [size for _, size in found] == [50, 1486]
    assert [at for at, _ in found] == pytest.approx([0.0, 0.5], abs=1e-5)


def ours():
    head = pcapng.section("x") + pcapng.interface(pcapng.ETHERNET, 65535, "a>b", "")
    raw = pcapng.interface(pcapng.RAW_IP, 96, "b>a", "")
    late = pcapng.packet(1, 3_000_000_000, b"z" * 96, 700)
    early = pcapng.packet(0, 1_000_000_000, b"z" * 60, 60)
    return head + raw + late + early + pcapng.statistics(0, 4_000_000_000, 2)


def test_what_otter_captures_is_read_by_time_whole_sizes_counted():
    assert recorded.packets(ours()) == [(0.0, 46), (2.0, 700)]


@pytest.mark.parametrize("data", [b"", b"RIFF", b"\xa1\xb2\xc3\xd4", b"\x0a\x0d\x0d\x0a" * 9])
def test_what_is_no_capture_is_refused(data):
    with pytest.raises(ValueError, match=r"\w"):
        recorded.packets(data)


@pytest.mark.slow
@given(st.binary(max_size=200), st.integers(0, 250))
def test_damaged_captures_never_do_worse_than_being_refused(junk, at):
    for whole in (ours(), pcap(WRITTEN)):
        damaged = whole[:at] + junk + whole[at + len(junk) :]
        try:
            found = recorded.packets(damaged)
        except ValueError:
            continue
        assert all(at >= 0 and size >= 0 for at, size in found)


# --- settings --------------------------------------------------------------------------------


def test_settings_are_read_with_their_units():
    found = settings.read(
        {"OTTER_TRAFFIC_TO": "a, b", "OTTER_TRAFFIC_KIND": "on-off", "OTTER_TRAFFIC_RATE": "5mbit",
         "OTTER_TRAFFIC_SIZE": "1000", "OTTER_TRAFFIC_ON": "200ms", "PATH": "/bin"}
    )  # fmt: skip
    assert (found.to, found.kind, found.rate_bps) == (("a", "b"), "on-off", 5e6)
    assert (found.size, found.on_s, found.off_s) == (1000, 0.2, 1.0)
    assert settings.read({}) == settings.Settings()
    assert settings.read({"OTTER_TRAFFIC_KIND": "tcp"}).rate_bps == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATE", "5"), ("RATE", "fast"), ("SIZE", "10"), ("SIZE", "9000"), ("KIND", "burst"),
        ("KIND", "replay"), ("FLOWS", "0"), ("FLOWS", "x"), ("ON", "0s"), ("SPEED", "0"),
        ("SPEED", "nan"), ("PORT", "70000"), ("FOR", "-1s"), ("RAET", "1mbit"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_named(name, value):
    with pytest.raises(ValueError, match=f"OTTER_TRAFFIC_{name}"):
        settings.read({f"OTTER_TRAFFIC_{name}": value})


# --- counts ----------------------------------------------------------------------------------


def test_lost_late_and_twice_are_told_apart():
    found = Arrived()
    for turn, number in enumerate([0, 1, 4, 3, 4, 6]):
        found.note(number, 10.0, 10.5 + turn, 100)
    report = found.report()
    counted = {name: report[name] for name in ("packets", "lost", "late", "copies", "bytes")}
    assert counted == {"packets": 5, "lost": 2, "late": 1, "copies": 1, "bytes": 500}
    assert report["delay_max_s"] == pytest.approx(5.5)


@pytest.mark.slow
def test_what_it_remembers_is_bounded():
    found = Arrived()
    for number in range(20_000):
        found.note(number, 0.0, 1.0, 100)
    assert len(found._recent) <= 4096
