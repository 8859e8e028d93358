"""Trace files: every format as it is meant to be read, and every way in which one can be wrong."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from net.links.traces import lines as bounds
from net.links.traces.codec import decode, encode
from net.links.traces.read import FORMATS, guess, read
from net.links.traces.trace import TraceFileError


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes, name: str = "t"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def columns(trace):
    return {name: list(values) for name, values in trace.columns.items()}


def test_seconds_and_mbit(written):
    trace = read(written("# from a drive\n0 20\n\n1 3.5\n2.5 0\n"))
    assert list(trace.times_s) == [0, 1, 2.5]
    assert columns(trace) == {"rate_bps": [20e6, 3.5e6, 3.5e6], "up": [1, 1, 0]}
    assert trace.length_s == 2.5 + 1.25  # the last holds as long as most do
    assert trace.notes == ()


def test_cores(written):
    trace = read(written("time_ms,cpu\n0,1\n500,0.25\n"))
    assert columns(trace) == {"cpu": [1, 0.25]}
    assert columns(decode(encode(trace))) == {"cpu": [1, 0.25]}
    with pytest.raises(TraceFileError, match="cpu is in cores, without a unit"):
        read(written("time,cpu_%\n0,1\n"))
    with pytest.raises(TraceFileError, match="cpu 'half' must be a number"):
        read(written("time,cpu\n0,half\n"))


def test_budgets(written):
    trace = read(
        written(
            "time,speed,memory_MiB,read [MB/s],write,in_mbit,out\n"
            "0,0.3,512,90,25MB/s,100,40mbit\n1,,,,,,\n2,0.2,256,,1MB,,8kbit\n"
        )
    )
    assert columns(trace) == {
        "speed": [0.3, 0.3, 0.2], "memory_bytes": [2**29, 2**29, 2**28],
        "read_bytes_per_s": [90e6] * 3, "write_bytes_per_s": [25e6, 25e6, 1e6],
        "in_bps": [100e6] * 3, "out_bps": [40e6, 40e6, 8e3],
    }  # fmt: skip
    assert columns(decode(encode(trace))) == columns(trace)


@pytest.mark.parametrize(
    ("header", "cell", "why"),
    [
        ("memory", "512", "memory '512' has no unit; write the unit into the header, such as"),
        ("memory_mbit", "512", "column 'memory_mbit': "),
        ("memory_MiB", "0", "memory '0MiB' is below 1"),
        ("speed_%", "30", "column 'speed_%': speed is a number, without a unit"),
        ("speed", "0", "speed '0' is below 0.001"),
        ("in_bit", "7", "in '7bit' is below 8"),
        ("write_s", "7", "column 'write_s': "),
    ],
)
def test_budgets_that_are_none(written, header, cell, why):
    with pytest.raises(TraceFileError) as error:
        read(written(f"time,{header}\n0,{cell}\n"))
    assert why in str(error.value)


def test_what_else_is_called_speed_in_other_peoples_files_is_left_out(written):
    path = written("When,Speed,DL,in,memory_used\n0,-,20,?,!\n")
    trace = read(path, columns={"When": "time", "DL": "rate_mbit"})
    assert columns(trace) == {"rate_bps": [20e6]}
    renamed = {"When": "time", "DL": "rate_mbit", "Speed": "speed"}
    with pytest.raises(TraceFileError, match="speed '-' must be a number"):
        read(path, columns=renamed)


def test_times_since_1970_count_from_the_first(written):
    trace = read(written("1690848000.5 20\n1690848001.5 10\n"))
    assert list(trace.times_s) == [0, 1]


def test_mahimahi_keeps_opportunities_and_delivers_as_much(written):
    # 250 ms: 3 packets in the first bin, none in the second, 2 in the last, shorter one
    trace = read(written("0\n40\n100\n220\n250\n"))
    assert list(trace.opportunities_s) == [0, 0.04, 0.1, 0.22, 0.25]
    assert trace.length_s == 0.25
    assert list(trace.times_s) == [0, 0.1]
    assert columns(trace) == {"rate_bps": [3 * 12000 / 0.1, 2 * 12000 / (0.25 - 0.1)]}


def test_mahimahi_bins_are_as_long_as_said(written):
    path = written("".join(f"{ms}\n" for ms in range(1, 1001)))
    assert len(read(path, bin_s=0.01).times_s) == 100
    assert set(read(path, bin_s=1).columns["rate_bps"]) == {12e6}


def test_csv_units_in_headers_and_at_values(written):
    trace = read(
        written(
            "time_ms,rate_mbit,delay [ms],jitter (us),loss %,up\n"
            "0,20,30,500,0.5,1\n"
            "500,,40,,1,1\n"
            "1000,5gbit,25ms,1ms,2%,0\n"
        )
    )
    assert list(trace.times_s) == [0, 0.5, 1]
    assert columns(trace) == {
        "rate_bps": [20e6, 20e6, 5e9],
        "delay_s": [0.03, 0.04, 0.025],
        "jitter_s": [0.0005, 0.0005, 0.001],
        "loss_ratio": [0.005, 0.01, 0.02],
        "up": [1, 1, 0],
    }


def test_csv_of_others_is_renamed(written):
    path = written('Timestamp;DL_bitrate;"State"\n0;1000;D\n1;2000;I\n')
    trace = read(path, columns={"Timestamp": "time_s", "DL_bitrate": "rate_kbit"})
    assert columns(trace)["rate_bps"] == [1e6, 2e6]


def test_csv_columns_that_say_nothing_at_first(written):
    trace = read(written("time,loss,delay_ms\n0,,10\n1,0.5,\n"))
    loss = trace.columns["loss_ratio"]
    assert loss[0] != loss[0]
    assert loss[1] == 0.5
    assert list(trace.columns["delay_s"]) == [0.01, 0.01]


def test_round_trips_are_halved(written):
    assert columns(read(written("0 40\n1 60\n"), "rtt")) == {"delay_s": [0.02, 0.03]}
    assert columns(read(written("time,rtt_ms\n0,40\n1,60\n"))) == {"delay_s": [0.02, 0.03]}
    ping = (
        "PING 1.1.1.1 (1.1.1.1) 56(84) bytes of data.\n"
        "[1690848006.0] 64 bytes from 1.1.1.1: icmp_seq=1 ttl=55 time=38.4 ms\n"
        "[1690848007.0] no answer yet for icmp_seq=2\n"
        "[1690848008.0] 64 bytes from 1.1.1.1: icmp_seq=3 ttl=55 time=50 ms\n"
        "--- 1.1.1.1 ping statistics ---\n"
    )
    trace = read(written(ping))
    assert columns(trace) == {"delay_s": [0.0192, 0.025]}
    assert list(trace.times_s) == [0, 2]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("12\n13\n", "mahimahi"),
        ("0 5\n", "rate"),
        ("0,5\n", "rate"),
        ("time,rate_mbit\n", "csv"),
        ("[1.0] 64 bytes", "rtt"),
    ],
)
def test_the_format_is_guessed(written, text, kind):
    assert guess(written(text)) == kind


def test_gaps_are_told(written):
    text = "".join(f"{t} 5\n" for t in [0, 1, 2, 3, 30, 31, 90])
    (note,) = read(written(text), name="a.txt").notes
    assert note == (
        "a.txt:5: says nothing from 3 s to 30 s, and 1 more gaps: what holds before goes on holding"
    )


WRONG = {
    "empty": (None, "", "is empty", 0),
    "only comments": (None, "# nothing\n", "is empty", 0),
    "only a header": (None, "time,rate_mbit\n", "no values", 0),
    "no values": (None, "time,rate_mbit\n0,\n1,\n", "no values", 0),
    "unsorted": (None, "0 1\n2 1\n1 1\n", "comes after", 3),
    "twice": (None, "0 1\n0 1\n", "twice", 2),
    "not a number": (None, "0 1\n1 fast\n", "'fast' is not a number", 2),
    "not finite": (None, "0 1\n1 nan\n", "'nan' is not a finite number", 2),
    "infinite time": (None, "0 1\ninf 1\n", "'inf' is not a finite number", 2),
    "negative": (None, "0 1\n1 -5\n", "must be between 0 and 1e+07", 2),
    "too fast": (None, "0 1\n1 1e9\n", "must be between 0 and 1e+07", 2),
    "three numbers": (None, "0 1\n1 2 3\n", "is not two numbers", 2),
    "mahimahi unsorted": (None, "5\n3\n", "3 ms comes after 5 ms", 2),
    "mahimahi word": ("mahimahi", "5\nx\n", "'x' is not a time in ms", 2),
    "mahimahi fraction": ("mahimahi", "5\n6.5\n", "'6.5' is not a time in ms", 2),
    "mahimahi without a length": (None, "0\n0\n", "ends at 0 ms", 2),
    "mahimahi years": (None, "5\n999999999999\n", "over three years", 2),
    "unknown column": ("csv", "time,dealy_ms\n0,1\n", "unknown column 'dealy_ms'", 1),
    "unknown unit": ("csv", "time,rate_parsec\n0,1\n", "unknown unit 'parsec'", 1),
    "no unit": ("csv", "time,rate\n0,1\n", "rate '1' has no unit", 2),
    "no time column": ("csv", "rate_mbit\n1\n", "no column `time`", 1),
    "no other column": ("csv", "time\n1\n", "no column but `time`", 1),
    "column twice": ("csv", "time,rate_mbit,rate_kbit\n", "two columns for rate", 1),
    "rtt and delay": ("csv", "time,rtt_ms,delay_ms\n", "two columns for rtt", 1),
    "too few cells": ("csv", "time,rate_mbit\n0,1\n1\n", "has 1 cells", 3),
    "no time": ("csv", "time,rate_mbit\n0,1\n,1\n", "has no time", 3),
    "loss of 101 %": ("csv", "time,loss_%\n0,101\n", "over the limit", 2),
    "loss of 2": ("csv", "time,loss\n0,2\n", "over the limit", 2),
    "nan cell": ("csv", "time,loss\n0,nan\n", "not a finite number", 2),
    "negative delay": ("csv", "time,delay_ms\n0,-1\n", "at least 0", 2),
    "a delay of a day": ("csv", "time,delay\n0,24h\n", "over the limit", 2),
    "up of 2": ("csv", "time,up\n0,2\n", "must be 0 or 1", 2),
    "bad quotes": ("csv", 'time,up\n0,"1\n', "is not CSV", 2),
    "milliseconds as seconds": ("rate", "0 1\n200000000 1\n", "over three years", 2),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_its_line(written, name):
    kind, text, reason, line = WRONG[name]
    path = written(text)
    with pytest.raises(TraceFileError) as caught:
        read(path, kind)
    assert reason in str(caught.value)
    where = f"{path}:{line}: " if line else f"{path}: "
    assert str(caught.value).startswith(where)


def test_binary_long_and_odd_files(written, tmp_path):
    with pytest.raises(TraceFileError, match=r":1: is binary"):
        read(written(b"\x7fELF\0\0"))
    with pytest.raises(TraceFileError, match=r":2: is binary, or not UTF-8"):
        read(written(b"0 1\n\xff\xfe\n"))
    with pytest.raises(TraceFileError, match=r":1: has a line of over 64 KiB"):
        read(written(b"1" * 100_000))
    with pytest.raises(TraceFileError, match="No such file"):
        read(tmp_path / "none")
    with pytest.raises(TraceFileError, match=r"is not a file|Is a directory"):
        read(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TraceFileError, match="is not a file"):
        read(tmp_path / "fifo")
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 30)  # takes no space, and no time to refuse
    with pytest.raises(TraceFileError, match=r"is too long \(1,024 MiB\); at most 64 MiB"):
        read(huge)


def test_a_trace_may_not_have_too_many_points(written, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_POINTS", 3)
    with pytest.raises(TraceFileError, match=":4: has more than 3 points"):
        read(written("0 1\n1 1\n2 1\n3 1\n"))


def test_a_byte_order_mark_is_no_part_of_the_header(written):
    assert read(written("\ufefftime,up\n0,1\n")).columns.keys() == {"up"}


def test_traces_travel_as_bytes(written):
    for text in ("0\n40\n100\n250\n", "time,loss,up\n0,,1\n1,0.5,0\n"):
        trace = read(written(text))
        again = decode(encode(trace))
        assert encode(again) == encode(trace)
        assert again.times_s == trace.times_s
        assert again.length_s == trace.length_s
        assert again.opportunities_s == trace.opportunities_s


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data.replace(b"OTRACE1", b"OTRACE2"),
        lambda data: data.replace(b'"points": 2', b'"points": 9'),
        lambda data: data.replace(b'"points": 2', b'"points": 2e99'),
        lambda data: data.replace(b"up", b"xx"),
        lambda data: data.replace(b'"length_s": 2.0', b'"length_s": 0.5'),
        lambda data: data.replace(b'"columns"', b'"culomns"'),
        lambda data: data.replace(b"{", b"\xff", 1),
        lambda data: data.split(b"\n")[0] + b"\n" + b" " * 5000,
        lambda data: data[:-8] + b"\xff" * 8,  # NaN is fine, but the time before isn't
    ],
)
def test_bytes_that_are_no_trace_are_refused(written, spoil):
    data = spoil(encode(read(written("time,up\n0,0\n1,1\n"))))
    try:
        trace = decode(data)
    except ValueError:
        return
    assert trace.problem() == ""


numbers = st.floats(allow_nan=True).map(repr) | st.integers(-5, 10**20).map(str)
cells = numbers | st.sampled_from(["", "1mbit", "5ms", "2%", '"', "x", "up", "time", "1e999", "-0"])
tables = st.lists(st.lists(cells, min_size=1, max_size=4).map(",".join), max_size=8).map("\n".join)
headers = st.sampled_from(["", "time,rate_mbit\n", "time_ms;delay [ms]\n", "t,up,loss,rtt_ms\n"])


@pytest.mark.slow
@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
    | st.builds(lambda head, rows: (head + rows).encode(), headers, tables),
    kind=st.none() | st.sampled_from(FORMATS),
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_a_trace_or_an_error_with_its_place(tmp_path, content, kind):
    path = tmp_path / "t"
    path.write_bytes(content)
    said = ""
    try:
        trace = read(path, kind)
    except TraceFileError as error:
        said = str(error)
    if said:
        assert said.startswith(str(path))
        assert said.isprintable()
    else:
        assert trace.problem() == ""
        assert encode(decode(encode(trace))) == encode(trace)
