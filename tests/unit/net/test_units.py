"""Quantities: what is read, what is refused and how it's said, and the way back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net import units
from net.errors import OtterError
from net.units import UnitError

PARSERS = (units.duration, units.rate, units.size, units.ratio)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.duration, "10ms", 0.01),
        (units.duration, " 1.5 s ", 1.5),
        (units.duration, "2min", 120.0),
        (units.duration, "250us", 0.00025),
        (units.duration, "250µs", 0.00025),
        (units.duration, "0", 0.0),
        (units.duration, 0, 0.0),
        (units.rate, "20mbit", 20e6),
        (units.rate, "20Mbit", 20e6),
        (units.rate, "0.5gbit", 5e8),
        (units.rate, "9600bit", 9600),
        (units.size, "1GiB", 2**30),
        (units.size, "1.5kB", 1500),
        (units.size, "9223372036854775807B", 2**63 - 1),
        (units.size, "77", 77),
        (units.size, 77, 77),
        (units.ratio, "0.5%", 0.005),
        (units.ratio, "0.25", 0.25),
        (units.ratio, 1, 1.0),
    ],
)
def test_reads(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "value", "says"),
    [
        (units.duration, 5, "a unit is missing"),
        (units.duration, "-1s", "negative"),
        (units.duration, "5 parsecs", "unknown unit 'parsecs'"),
        (units.duration, "1e300h", "limit"),
        (units.duration, math.nan, "not a finite number"),
        (units.duration, True, "not a text or a number"),
        (units.rate, "5mbps", "bits or bytes"),
        (units.rate, "5Mibit", "powers of 1000"),
        (units.rate, 5, "a unit is missing"),
        (units.size, "5G", "did you mean 'GiB'?"),
        (units.size, "5gb", "did you mean 'GB'?"),
        (units.size, "5KB", "did you mean 'kB'?"),
        (units.size, 2**63, "too large"),
        (units.size, "9e300TiB", "too large"),
        (units.size, -1, "negative"),
        (units.size, 1.5, "not a text or an integer"),
        (units.ratio, "101%", "limit of 1"),
        (units.ratio, 10**400, "too large"),
        (units.ratio, "5ms", "unknown unit"),
    ],
)
def test_refuses_and_says_why(parse, value, says):
    with pytest.raises(UnitError, match=r"write ") as caught:
        parse(value)
    assert says in str(caught.value)
    assert isinstance(caught.value, OtterError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", ["", "nan", "inf", "ms", "\0", "1\x002", "9" * 300, "1_0s", "٣s"])
def test_hostile_text_is_refused_shortly(parse, text):
    with pytest.raises(UnitError) as caught:
        parse(text)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@given(st.text(max_size=80) | st.integers() | st.floats() | st.none() | st.lists(st.integers()))
def test_never_anything_but_a_unit_error(value):
    for parse in PARSERS:
        try:
            number = parse(value)
        except UnitError:
            continue
        assert number >= 0
        assert math.isfinite(number)


@given(st.floats(0, units.MAX_DURATION_S))
def test_duration_round_trip(seconds):
    assert units.duration(units.format_duration(seconds)) == seconds


@given(st.floats(0, units.MAX_RATE_BPS))
def test_rate_round_trip(bits_per_second):
    assert units.rate(units.format_rate(bits_per_second)) == bits_per_second


@given(st.integers(0, units.MAX_SIZE_BYTES))
def test_size_round_trip(size_bytes):
    assert units.size(units.format_size(size_bytes)) == size_bytes


@given(st.floats(0, 1))
def test_ratio_round_trip(value):
    assert units.ratio(units.format_ratio(value)) == value


@pytest.mark.parametrize(
    ("parse", "back", "text"),
    [
        (units.duration, units.format_duration, "10ms"),
        (units.duration, units.format_duration, "1.5min"),
        (units.duration, units.format_duration, "0s"),
        (units.rate, units.format_rate, "20mbit"),
        (units.rate, units.format_rate, "9.6kbit"),
        (units.size, units.format_size, "800MiB"),
        (units.size, units.format_size, "3B"),
        (units.ratio, units.format_ratio, "0.5%"),
        (units.ratio, units.format_ratio, "100%"),
    ],
)
def test_formats_as_people_write(parse, back, text):
    assert back(parse(text)) == text
