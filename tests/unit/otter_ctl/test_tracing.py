"""A query's messages, found by who answers whom, in records that may hold anything."""

from __future__ import annotations

import asyncio

import pytest

from net.traces import MAX_LINE_BYTES, lines_naming, parse
from otter_ctl import tracing
from otter_ctl.tracing import trace


def line(id_, reply_to="", source="a", target="b", start=100.0, outcome="done"):
    times = ",".join(f"{start + 0.001 * step:.6f}" for step in (0, 1, 3, 7, 15, 31))
    return f"{id_},{reply_to},{source}.x>{target}.y,{source},{target},{times},99,{outcome},0"


CHAIN = [
    ("detector", line("camera:1:1", start=100.0, source="camera", target="detector")),
    ("store", line("detector:2:1", "camera:1:1", "detector", "store", start=100.02)),
    ("screen", line("detector:2:1", "camera:1:1", "detector", "screen", start=100.02)),
    ("log", line("store:3:9", "detector:2:1", "store", "log", start=100.05)),
]
NOISE = [
    ("detector", line("camera:1:11", source="camera", target="detector")),
    ("detector", "camera:1:1"),
    ("detector", "camera:1:1," * 500),
    ("detector", line("camera:1:1").replace("100.0", "nan")),
    ("detector", line("camera:1:1", outcome="camera:1:1")),
]


def find_in(lines, asked=None):
    async def find(ids):
        if asked is not None:
            asked.append(list(ids))
        for module, text in lines:
            if any(one in text for one in ids):
                yield module, text

    return find


def traced(wanted, lines=CHAIN, **options):
    return asyncio.run(trace(wanted, find_in(lines, **options)))


@pytest.mark.parametrize("wanted", ["camera:1:1", "detector:2:1", "store:3:9"])
def test_any_message_of_a_query_leads_to_all(wanted):
    found = traced(wanted, NOISE + CHAIN + NOISE)
    assert [(hop.module, hop.record.id, hop.depth) for hop in found.hops] == [
        ("detector", "camera:1:1", 0),
        ("screen", "detector:2:1", 1),
        ("store", "detector:2:1", 1),
        ("log", "store:3:9", 2),
    ]
    assert not found.cut
    assert (found.began, found.ended) == (100.0, pytest.approx(100.081))


def test_where_the_time_went():
    (hop, *_) = traced("camera:1:1").hops
    assert hop.parts() == pytest.approx(
        {"output": 0.001, "sending": 0.002, "link": 0.004, "queue": 0.008, "module": 0.016}
    )
    data = hop.as_data()
    assert (data["made"], data["reply_to"], data["recorded_by"]) == (100.0, None, "detector")


def test_what_never_left_has_only_the_times_that_came_to_be():
    text = "a:1:1,,a.x>b.y,a,b,100.000000,100.500000,,,,,99,dropped,0"
    (hop,) = traced("a:1:1", [("a", text)]).hops
    assert hop.parts() == {"output": 0.5}
    assert hop.as_data()["sent"] is None


def test_an_unknown_message_leaves_nothing():
    assert traced("camera:1:2").hops == []


def test_circles_end():
    lines = [
        ("m", line("a:1:1", "a:1:2")),
        ("m", line("a:1:2", "a:1:1")),
        ("m", line("a:1:3", "a:1:3")),
    ]
    assert len(traced("a:1:1", lines).hops) == 2
    assert len(traced("a:1:3", lines).hops) == 1


def test_it_asks_for_many_at_once_and_for_none_twice():
    lines = [("m", line(f"b:1:{n}", "a:1:1")) for n in range(250)]
    asked = []
    assert len(traced("a:1:1", lines, asked=asked).hops) == 250
    assert [len(ids) for ids in asked] == [1, 100, 100, 50]
    assert len({one for ids in asked for one in ids}) == 251


def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr(tracing, "MAX_MESSAGES", 40)
    found = traced("a:1:1", [("m", line(f"b:1:{n}", "a:1:1")) for n in range(250)])
    assert len(found.hops) == 40
    assert found.cut


@pytest.mark.parametrize(
    "text",
    [
        "", "a", ",".join("a" * 14), line("a:1:1") + ",", line(""), '"a' + line(""),
        line("a:1:1").replace(",99,", ",-9,"), line("a:1:1").replace(",99,", ",1e400,"),
        line("a:1:1", start=float("inf")), line("a:1:1", start=1e300), line("a:1:1", start=-5),
    ],
)  # fmt: skip
def test_lines_that_make_no_sense_are_no_records(text):
    assert parse(text) is None


@pytest.mark.slow
def test_lines_are_found_in_files_of_any_size(tmp_path):
    path = tmp_path / "messages.csv"
    wanted = line("camera:1:1")
    with path.open("w") as file:
        for number in range(30_000):
            file.write(line(f"other:1:{number}") + "\n")
            if number in (0, 15_000, 29_999):
                file.write(wanted + "\n")
        file.write("camera:1:1" + "x" * MAX_LINE_BYTES + "\n" + wanted)  # no end, as if killed
    with path.open("rb") as file:
        assert list(lines_naming(file, ["camera:1:1"])) == [wanted.encode()] * 4
    with path.open("rb") as file:
        assert list(lines_naming(file, ["", "camera:2:1"])) == []
