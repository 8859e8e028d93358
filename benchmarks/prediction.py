"""What `plan` predicts of each stream's latency, beside what is measured: median against median.

A mesh of process modules with twelve streams over links of different delays, rates and jitter, of
messages from 64 bytes to a megabyte, some sharing a link; all of it on one machine, and spread over
two machines of a lab. A message holds the time at which it was sent: all machines here have one
clock. The goal is that of nine streams in ten the prediction is within a tenth of what came.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.mesh import agent, run
from benchmarks.row import NotHere, Row
from benchmarks.unpacked import layers

RUN_S = 24.0
WARM_S = 4.0
"""Of the run, at its beginning: connections and windows grow."""
GIVEN_UP_S = 60.0
NEAR = 0.1
SHARE_GOAL = 0.9

STREAMS = {
    # name: (from, to, bytes, every ms, transport)
    "tiny": ("a", "b", 64, 20, "tcp"),
    "kilo": ("a", "b", 1_000, 53, "tcp"),
    "burst": ("a", "b", 200_000, 310, "tcp"),
    "frame": ("a", "c", 20_000, 97, "tcp"),
    "still": ("a", "c", 100_000, 703, "tcp"),
    "video": ("a", "d", 8_000, 61, "tcp"),
    "shaky": ("a", "e", 4_000, 33, "tcp"),
    "mega": ("a", "e", 1_000_000, 907, "tcp"),
    "loose": ("a", "e", 6_000, 71, "udp"),
    "reply": ("c", "a", 10_000, 121, "tcp"),
    "far": ("d", "a", 40_000, 211, "tcp"),
    "local": ("a", "a", 10_000, 50, "tcp"),
}
LINKS = """
[[links]]
between = ["a", "b"]
delay = "5ms"
[[links]]
between = ["a", "c"]
delay = "20ms"
rate = "10mbit"
queue = "200ms"
[[links]]
between = ["c", "d"]
delay = "10ms"
rate = "50mbit"
queue = "200ms"
[[links]]
between = ["a", "e"]
delay = "8ms"
jitter = "2ms"
rate = "100mbit"
queue = "200ms"
"""
SPREAD = {"a": "lab1", "b": "lab2", "c": "lab1", "d": "lab2", "e": "lab2"}
SOURCE = """
import asyncio, json, struct, sys, time
import net

async def each(mesh, name, size, every):
    loop, out = asyncio.get_running_loop(), mesh.output(name)
    following = loop.time()
    while True:
        following = max(following + every, loop.time())
        await asyncio.sleep(following - loop.time())
        await out.send(struct.pack("d", time.time()) + bytes(size - 8))

async def main(mesh):
    async with asyncio.TaskGroup() as group:
        for name, size, every in json.loads(sys.argv[1]):
            group.create_task(each(mesh, name, size, every / 1000))

net.run(main)
"""
SINK = f"""
import asyncio, json, struct, sys, time
import net

async def each(mesh, name, found):
    began = None
    async for message in mesh.input(name):
        now = time.time()
        began = began or now
        if now - began > {WARM_S}:
            found.append(now - struct.unpack_from("d", message.value)[0])

async def main(mesh):
    names = sys.argv[1:]
    found = {{name: [] for name in names}}
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(each(mesh, name, found[name]))
        await asyncio.sleep({RUN_S})
        print("found", json.dumps(found), flush=True)

net.run(main)
"""


def rows() -> list[Row]:
    """For one machine and for two: the share of streams near, and the error of the median one."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    found: list[Row] = []
    with agent() as (otterctl, folder):
        found += _measured("one machine", otterctl, folder, {})
    with lab() as (otterctl, folder):
        found += _measured("two machines of a lab", otterctl, folder, SPREAD)
    return found


def _measured(where: str, otterctl: list[str], folder: Path, machines: dict[str, str]) -> list[Row]:
    file = folder / "mesh.toml"
    file.write_text(topology(folder, machines))
    run(otterctl, "plan", str(file), "--explain")  # the machines measure how they wake up
    run(otterctl, "apply", str(file))
    try:
        came = measured(otterctl)
    finally:
        said = subprocess.run(
            [*otterctl, "plan", str(file), "--json"], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
        run(otterctl, "destroy", "--yes", "--no-fetch")
    streams = json.loads(said)["forecast"]["streams"]
    expected = {s["stream"].partition(".")[2].partition(">")[0]: s["latency_s"] for s in streams}
    errors = {name: expected[name] / came[name] - 1 for name in STREAMS}
    for name, error in errors.items():
        print(
            f"  {where}: {name:6} predicted {1e3 * expected[name]:8.3f} ms,"
            f" measured {1e3 * came[name]:8.3f} ms, {100 * error:+6.1f} %",
            file=sys.stderr,
        )
    near = sum(abs(error) <= NEAR for error in errors.values()) / len(errors)
    worst = max(errors, key=lambda name: abs(errors[name]))
    note = f"worst is {worst}: {100 * errors[worst]:+.1f} %"
    return [
        Row(
            name=f"prediction, {where}: streams within 10 %", unit="1", better="higher", ours=near,
            peers={}, limit=1.0, goal=SHARE_GOAL, n=len(errors), note=note,
        ),
        Row(
            name="… error of the median stream", unit="1", better="lower",
            ours=statistics.median(map(abs, errors.values())), peers={}, limit=0.0, goal=NEAR,
            n=len(errors), note=note,
        ),
    ]  # fmt: skip


def topology(folder: Path, machines: dict[str, str]) -> str:
    """The mesh; its two programs go beside it."""
    (folder / "source.py").write_text(SOURCE)
    (folder / "sink.py").write_text(SINK)
    parts = ['name = "predicted"\n[defaults.module]\nruntime = "process"\n', LINKS]
    for host in "abcde":
        named = f'machine = "{machines[host]}"\n' if machines else ""
        parts.append(f"[hosts.{host}]\n{named}")
    python = json.dumps(sys.executable)
    for host in sorted({s[0] for s in STREAMS.values()}):
        sent = [(n, size, every) for n, (a, _, size, every, _) in STREAMS.items() if a == host]
        asked = json.dumps(json.dumps(sent))
        parts.append(
            f'[modules.source-{host}]\nhost = "{host}"\nfiles = {{ "source.py" = "source.py" }}\n'
            f'command = [{python}, "source.py", {asked}]\n'
        )
    for host in sorted({s[1] for s in STREAMS.values()}):
        taken = json.dumps([n for n, s in STREAMS.items() if s[1] == host])[1:-1]
        parts.append(
            f'[modules.sink-{host}]\nhost = "{host}"\nfiles = {{ "sink.py" = "sink.py" }}\n'
            f'command = [{python}, "sink.py", {taken}]\n'
        )
    for name, (a, b, size, every, transport) in STREAMS.items():
        parts.append(
            f'[[streams]]\nfrom = "source-{a}.{name}"\nto = "sink-{b}.{name}"\n'
            f'transport = "{transport}"\nexpect = {{ message = {size}, every = "{every}ms" }}\n'
        )
    return "".join(parts)


def measured(otterctl: list[str]) -> dict[str, float]:
    """Stream -> median seconds, once all sinks have told theirs."""
    sinks = sorted({f"sink-{s[1]}" for s in STREAMS.values()})
    found: dict[str, float] = {}
    deadline = time.monotonic() + RUN_S + GIVEN_UP_S
    while len(found) < len(STREAMS):
        if time.monotonic() > deadline:
            raise RuntimeError(f"no word of {sorted(STREAMS.keys() - found)}")
        time.sleep(2)
        for sink in sinks:
            said = subprocess.run(
                [*otterctl, "logs", sink, "--tail", "1"],
                stdout=subprocess.PIPE, text=True, check=True,
            ).stdout  # fmt: skip
            _, known, told = said.partition("found ")
            if known:
                found.update((n, statistics.median(v)) for n, v in json.loads(told).items())
    return found


@contextmanager
def lab() -> Iterator[tuple[list[str], Path]]:
    """Two machines without engines, in a folder of our own; gives the `otterctl` command line."""
    with tempfile.TemporaryDirectory(prefix="otter-bench-") as name:
        folder = Path(name)
        otterctl = [str(Path(sys.executable).parent / "otterctl")]
        whole = [
            "env", f"OTTER_LAB={folder}/lab", f"OTTER_SITE={folder}/lab/site.toml", *otterctl,
            "--root", str(folder / "a"), "--runs", str(folder / "runs"),
        ]  # fmt: skip
        options = [word for layer in layers() for word in ("--layer", str(layer))]
        up = subprocess.run(
            [*whole, "lab", "up", "2", "--no-docker", *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        try:
            if up.returncode:
                raise NotHere(f"no lab: {up.stderr.strip()}")
            yield whole, folder
        finally:
            subprocess.run([*whole, "lab", "down"], capture_output=True, check=False)
