"""What modules tell of their streams is shown; what they make up harms nobody."""

from __future__ import annotations

import json
import os

import pytest

from otter_agent import api, streams
from otter_agent.layout import Layout

NAME = "a.x>b.y"
LATENCY = {"mean_s": 0.1, "p50_s": 0.1, "p99_s": 0.2, "max_s": 0.3}


def end(peer, port_name):
    return api.StreamEnd(stream=NAME, port_name=port_name, peer=peer, address="10.0.0.2", port=9000)


def module(name, **ends):
    return api.ModuleSpec(name=name, host="h", address="10.0.0.1", runtime="fake", **ends)


SENDER, RECEIVER = end("b", "x"), end("a", "y")
MODULES = (module("a", streams_out=(SENDER,)), module("b", streams_in=(RECEIVER,)), module("c"))
SPEC = api.MeshSpec(name="m", run="r", modules=MODULES)


@pytest.fixture
def layout(tmp_path):
    made = Layout.at(tmp_path)
    for name in "abc":
        made.module("m", name).state.mkdir(parents=True)
    return made


def path_of(layout, owner, name="streams.json"):
    return layout.module("m", owner).state / name


def tell(layout, owner, **report):
    path_of(layout, owner).write_text(json.dumps(report))


def shown(layout):
    (found,) = streams.stream_statuses(layout, SPEC)
    return found


def test_both_ends_make_one_stream(layout):
    tell(layout, "a", outputs=[{
        "stream": NAME, "transport": "tcp", "messages": 9, "dropped": 1, "waiting": 2, "resent": 3,
        "extra": {"rtt_s": 0.01}, "new_in_a_later_version": 1,
    }])  # fmt: skip
    tell(layout, "b", inputs=[{
        "stream": NAME, "transport": "tcp", "messages": 7, "bytes": 700, "dropped": 1, "waiting": 4,
        "rate_per_s": 3.5, "latency": {"link": LATENCY, "made-up": LATENCY},
    }])  # fmt: skip
    found = shown(layout)
    assert (found.name, found.from_, found.to) == (NAME, "a", "b")
    assert (found.asked, found.transport) == ("tcp", "tcp")
    assert (found.sent, found.messages, found.bytes, found.rate_per_s) == (9, 7, 700, 3.5)
    assert (found.unsent, found.waiting, found.dropped, found.resent) == (2, 4, 2, 3)
    assert found.latency == {"link": api.Latency(**LATENCY)}
    assert found.extra == {"sender": {"rtt_s": 0.01}}
    assert json.loads(api.encode(found))["from"] == "a"


def test_a_stream_of_which_nobody_has_told_is_shown(layout):
    found = shown(layout)
    assert (found.transport, found.messages, found.latency) == ("", 0, {})


def test_only_its_own_streams_can_be_told_of_by_a_module(layout):
    about = [{"stream": NAME, "messages": 99}, {"stream": "z.x>q.y", "messages": 99}]
    tell(layout, "a", inputs=about)
    tell(layout, "c", inputs=about, outputs=about)
    assert shown(layout).messages == shown(layout).sent == 0


GOOD = {"inputs": [{"stream": NAME, "messages": 7}]}


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\0" * 100, b"[]", b"null", b'{"inputs": 5}', b'{"inputs": [5]}', b"[" * 200_000,
        b'{"inputs": [{"messages": -1}]}', b'{"inputs": [{"messages": 1e999}]}',
        b'{"inputs": [{"messages": 99999999999999999999999}]}',
        b'{"inputs": [{"rate_per_s": 1e300}]}', b'{"inputs": [{"latency": {"link": {}}}]}',
        b'{"inputs": [{"latency": {"link": {"mean_s": -1, "p50_s": 0, "p99_s": 0, "max_s": 0}}}]}',
        json.dumps(GOOD).encode()[:-3], b"\xff\xfe",
        json.dumps({**GOOD, "padding": "x" * streams.MAX_REPORT_BYTES}).encode(),
    ],
)  # fmt: skip
def test_a_report_that_makes_no_sense_is_none(layout, text):
    path_of(layout, "b").write_bytes(text)
    assert shown(layout).messages == 0


def test_only_plain_files_are_read(layout, tmp_path):
    path = path_of(layout, "b")
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(GOOD))
    path.symlink_to(secret)
    assert shown(layout).messages == 0
    path.unlink()
    os.mkfifo(path)  # nobody writes: reading it would take for ever
    assert shown(layout).messages == 0
    path.unlink()
    path.mkdir()
    assert shown(layout).messages == 0
    path.rmdir()
    state = path.parent
    state.rmdir()
    state.symlink_to(tmp_path)
    (tmp_path / "streams.json").write_text(json.dumps(GOOD))
    assert shown(layout).messages == 0


def test_words_that_a_module_makes_up_are_not_shown(layout):
    extra = {"x\x1b[2J": 1, "y" * 99: 2, "fine": 3} | {f"n{i}": i for i in range(500)}
    tell(layout, "b", inputs=[{"stream": NAME, "transport": "\x1b]0;x", "extra": extra}])
    found = shown(layout)
    assert found.transport == ""
    assert len(found.extra["receiver"]) == streams.MAX_EXTRA
    assert all(name.isidentifier() and len(name) < 99 for name in found.extra["receiver"])


def test_lines_of_records_that_name_a_message(layout, tmp_path):
    path_of(layout, "b", "messages.csv").write_bytes(b"a:1:1,x\na:1:2,\xff\n" + b"a:1:1" * 9999)
    (tmp_path / "other").write_text("a:1:1 of others\n")
    path_of(layout, "c", "messages.csv").symlink_to(tmp_path / "other")
    found = list(streams.record_lines(layout, "m", SPEC.modules, ["a:1:1"]))
    assert found == [api.RecordLine(module="b", line="a:1:1,x")]
    (line,) = streams.record_lines(layout, "m", SPEC.modules, ["a:1:2"])
    assert line.line == "a:1:2,\ufffd"
