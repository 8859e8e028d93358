"""Streams in `status`, and one query end to end in `trace`: from modules that run, and of a run."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.netns

MESH = """
name = "traced"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
between = ["a", "b"]
[modules.camera]
host = "a"
build = "camera"
[modules.detector]
host = "b"
build = "detector"
[modules.store]
host = "a"
build = "store"
[[streams]]
from = "camera.images"
to = "detector.images"
[[streams]]
from = "detector.boxes"
to = "store.boxes"
"""
SOURCES = {
    "camera": """
        for number in range(3):
            print("sent", await mesh.output("images").send(number), flush=True)
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()
    """,
    "detector": """
        async for image in mesh.input("images"):
            await mesh.output("boxes").send([image.value], reply_to=image)
    """,
    "store": """
        async for boxes in mesh.input("boxes"):
            pass
    """,
}
CODE = """
import asyncio
import net
async def main(mesh):
    await mesh.ready()
{body}
net.run(main)
"""
FIRST, SECOND = "camera.images>detector.images", "detector.boxes>store.boxes"


@pytest.fixture
def traced(shared_otter):
    """The mesh, once its three queries have gone all the way."""
    otter = shared_otter
    for name, body in SOURCES.items():
        folder = otter.root / name
        folder.mkdir(exist_ok=True)
        (folder / "module.py").write_text(
            CODE.format(body=textwrap.indent(textwrap.dedent(body), "    "))
        )
    began = time.monotonic()
    otter("apply", otter.topology(MESH))

    def through():
        streams = {s["name"]: s for s in otter.json("status")["streams"]}
        # Each module tells for itself, once a second: the last may tell before the first.
        told = [(s["sent"], s["messages"], s["waiting"]) for s in streams.values()]
        return streams if told == [(3, 3, 0)] * 2 else None

    otter.streams = wait_for(through, "three answers in the status")
    otter.lived_s = time.monotonic() - began
    return otter


def ids(otter):
    lines = otter("logs", "camera", "--json").stdout.splitlines()
    texts = [json.loads(line)["text"].split() for line in lines]
    return [words[1] for words in texts if words[0] == "sent"]


def test_status_shows_what_streams_carry(traced):
    found = traced.streams
    assert set(found) == {FIRST, SECOND}
    first = found[FIRST]
    assert (first["from"], first["to"], first["asked"], first["transport"]) == (
        "camera", "detector", "tcp", "tcp",
    )  # fmt: skip
    assert (first["sent"], first["messages"], first["waiting"]) == (3, 3, 0)
    assert first["bytes"] > 3 * 80
    link, total = first["latency"]["link"], first["latency"]["total"]
    assert 0 < link["p50_s"] <= total["max_s"] < traced.lived_s
    text = traced("status").stdout
    (row,) = [line.split() for line in text.splitlines() if line.startswith(FIRST)]
    assert row[1:3] == ["tcp", "3"]


def test_a_query_end_to_end_while_it_runs_and_afterwards(traced):
    wanted = ids(traced)[1]

    def recorded():
        found = traced("trace", wanted, "--json", code=None)
        data = json.loads(found.stdout) if found.returncode == 0 else {"messages": []}
        return data if len(data["messages"]) == 2 else None

    live = wait_for(recorded, "both messages in the records")
    question, answer = live["messages"]
    assert (question["id"], question["stream"], question["outcome"]) == (wanted, FIRST, "done")
    assert (answer["reply_to"], answer["stream"]) == (wanted, SECOND)
    assert (question["depth"], answer["depth"]) == (0, 1)
    times = [question[t] for t in ("made", "queued", "sent", "received", "taken", "done")]
    assert times == sorted(times)
    assert question["taken"] <= answer["made"] <= answer["taken"]
    # In the time base of events: it was after the mesh was made, and before now.
    events = [json.loads(x) for x in traced("events", "-m", "traced", "--json").stdout.splitlines()]
    assert events[0]["time"] < question["made"] < time.time()

    from_answer = traced.json("trace", answer["id"], "-m", "traced")
    assert from_answer["messages"] == live["messages"]
    text = traced("trace", wanted).stdout
    assert text.startswith(f"{wanted}: 2 messages, ")
    assert [line.split()[-1] for line in text.splitlines()[3:]] == ["done", "done"]
    missing = traced("trace", "nobody:1:1", code=1)
    assert "no record of a message 'nobody:1:1'" in missing.stderr

    folder = Path(traced.json("destroy", "--yes")["folder"])
    assert (folder / "messages" / "detector.csv").read_text().startswith("id,reply_to,stream,from")
    for more in (("--run", folder), ("-m", "traced"), ()):
        past = traced.json("trace", wanted, *more)
        assert past["source"] == str(folder)
        assert past["messages"] == live["messages"]
    assert traced("trace", wanted, "-m", "other", code=1).stderr.count("\n") == 1


def test_a_module_that_fills_its_state_folder_with_nonsense_harms_nobody(traced):
    (state,) = (traced.root / "a").glob("lib/meshes/traced/detector/state")
    pid = traced.modules("traced")["detector"]["pid"]
    os.kill(pid, signal.SIGSTOP)  # it shan't write it anew
    try:
        for content in (b"[" * 100_000, b'{"inputs": [{"messages": -1}]}', b"x" * (5 << 20)):
            (state / "streams.json").unlink(missing_ok=True)
            (state / "streams.json").write_bytes(content)
            first = traced.json("status")["streams"][0]
            assert (first["name"], first["messages"], first["sent"]) == (FIRST, 0, 3)
        (state / "streams.json").unlink()
        (state / "streams.json").symlink_to("/dev/zero")
        (state / "messages.csv").unlink(missing_ok=True)
        (state / "messages.csv").symlink_to("/dev/zero")
        assert traced.json("status")["streams"][0]["messages"] == 0
        traced("trace", ids(traced)[0], code=None)
    finally:
        os.kill(pid, signal.SIGCONT)
