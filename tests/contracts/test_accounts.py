"""What meshes tell of their messages: records, counters, the file for the agent."""

from __future__ import annotations

import asyncio
import csv
import json
import socket
import time

import pytest
from helpers.queueing import queued

import net
from net.stream import Timing
from net.wiring import StreamEnd, Wiring

HERE = "127.0.0.1"
NAME = "a.x>b.y"
FAST = Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.2)
pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def pair(tmp_path):
    """Makes `a`, which sends to `b`; each with a state folder."""

    def make(clock=time.time, **options):
        with socket.socket() as sock:
            sock.bind((HERE, 0))
            port = sock.getsockname()[1]
        meshes = []
        for module in "ab":
            peer, name = ("b", "x") if module == "a" else ("a", "y")
            ends = (StreamEnd(NAME, name, peer, HERE, port, source_address=HERE, **options),)
            place = {"outputs": ends} if module == "a" else {"inputs": ends}
            state = tmp_path / module
            state.mkdir()
            wiring = Wiring("test", module, "h", HERE, **place)
            meshes.append(net.Mesh(wiring, state=state, timing=FAST, clock=clock))
        return meshes

    return make


def records(tmp_path, module):
    with (tmp_path / module / "messages.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def reported(tmp_path, module):
    return json.loads((tmp_path / module / "streams.json").read_text())


def queue_of(sink):
    return sink._inputs["y"]._inbox


async def test_stats_of_both_ends(pair, tmp_path):
    source, sink = pair(queue=2)
    async with source, sink:
        for number in range(5):
            await source.output("x").send(number)
            await sink.input("y").receive()
        await source.output("x").send("waits")
        await queued(queue_of(sink), lambda: sink.stats()["inputs"][0]["waiting"])
        (out,), (inp,) = source.stats()["outputs"], sink.stats()["inputs"]
        assert (out["output"], out["stream"], out["transport"]) == ("x", NAME, "tcp")
        assert (inp["input"], inp["stream"], inp["transport"]) == ("y", NAME, "tcp")
        assert (out["messages"], inp["messages"], inp["waiting"]) == (6, 5, 1)
        assert inp["bytes"] > 5 * 80
        latency = inp["latency"]
        parts = sum(latency[p]["mean_s"] for p in ("output", "sending", "link", "queue"))
        assert 0 < latency["total"]["mean_s"] == pytest.approx(parts)
        assert out["latency"] == {}
        assert source.stats()["inputs"] == []
    assert reported(tmp_path, "a")["outputs"][0]["messages"] == 6
    assert reported(tmp_path, "b")["inputs"][0]["messages"] == 5


async def test_what_a_sender_drops_is_in_its_own_file(pair, tmp_path):
    source, _ = pair(queue=2, policy="drop-oldest")
    async with source:  # its receiver isn't there
        ids = [await source.output("x").send(number) for number in range(5)]
    lines = records(tmp_path, "a")
    assert [(line["id"], line["outcome"]) for line in lines] == [
        *((one, "dropped") for one in ids[:3]), *((one, "failed") for one in ids[3:]),
    ]  # fmt: skip
    assert {(line["from"], line["to"], line["stream"]) for line in lines} == {("a", "b", NAME)}
    assert lines[0]["made"] <= lines[0]["queued"]
    assert lines[0]["sent"] == lines[0]["taken"] == lines[0]["done"] == ""
    assert reported(tmp_path, "a")["outputs"][0]["dropped"] == 3


async def test_what_expires_at_either_end_is_in_the_file_of_that_end(pair, tmp_path):
    now = [1000.0]
    source, sink = pair(clock=lambda: now[0])
    async with source, asyncio.TaskGroup() as group:
        output = source.output("x")
        sending = group.create_task(output.send("too late to go", within_s=5))
        await asyncio.sleep(0)  # one turn of the loop: it has begun
        now[0] += 10
        async with sink:
            unsent = await sending
            unseen = await output.send("too late to be seen", within_s=5)
            await queued(queue_of(sink), lambda: sink.stats()["inputs"][0]["waiting"])
            now[0] += 10
            seen = await output.send("in time")
            assert (await sink.input("y").receive()).id == seen
        assert source.stats()["outputs"][0]["expired"] == 1
        assert sink.stats()["inputs"][0]["expired"] == 1
    assert [(x["id"], x["outcome"]) for x in records(tmp_path, "a")] == [(unsent, "expired")]
    assert [(x["id"], x["outcome"]) for x in records(tmp_path, "b")] == [
        (unseen, "expired"), (seen, "done"),
    ]  # fmt: skip


def come(sink):
    (told,) = sink.stats()["inputs"]
    return told["dropped"], told["waiting"]


async def test_what_a_receiver_drops_is_in_its_file(pair, tmp_path):
    source, sink = pair(policy="latest")
    async with source, sink:
        await sink.ready()
        ids = []
        for number in range(3):
            ids.append(await source.output("x").send(number))
            # Each is there before the next one is sent.
            await queued(queue_of(sink), lambda: come(sink) == (number, 1))  # noqa: B023
        assert (await sink.input("y").receive()).id == ids[-1]
    outcomes = {line["id"]: line["outcome"] for line in records(tmp_path, "b")}
    assert outcomes == {ids[0]: "dropped", ids[1]: "dropped", ids[2]: "done"}


async def test_the_message_that_an_error_ended_has_failed(pair, tmp_path):
    source, sink = pair()
    got = []

    async def main():
        async with sink:
            await source.output("x").send(0)
            got.append(await sink.input("y").receive())
            _ = 1 / got[0].value

    async with source:
        with pytest.raises(ZeroDivisionError):
            await main()
    (line,) = records(tmp_path, "b")
    assert (line["id"], line["outcome"]) == (got[0].id, "failed")
