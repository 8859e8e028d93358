"""A chain of modules, each a process that can be killed and started again within milliseconds.

    python chain.py FOLDER DELIVERY PORT PORT     reads roles from stdin, forks one for each line

`source` sends numbers until `FOLDER/stop` is there, and writes down what was acknowledged;
`middle` doubles them; `sink` writes down what it gets, with its id, and drops ids that it has.
Without a middle (at-least-once is a promise per hop) the source sends to the sink.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from pathlib import Path

from net.mesh import Mesh
from net.timing import Timing
from net.wiring import StreamEnd, Wiring

HERE = "127.0.0.1"
FAST = Timing(first_retry_s=0.002, longest_retry_s=0.02, close_s=5.0)
FLUSH_EVERY = 7


def _append(path: Path, line: str) -> None:
    """Whole or not at all, whenever the process is killed."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
    os.close(fd)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _mesh(role: str, delivery: str, ins: int | None, outs: int | None) -> Mesh:
    def end(port: int, name: str, peer: str) -> tuple[StreamEnd, ...]:
        stream = f"x.out>y{port}.in"
        return (StreamEnd(stream, name, peer, HERE, port, delivery=delivery),)

    wiring = Wiring(
        "chain", role, "h", HERE,
        inputs=end(ins, "in", "x") if ins else (), outputs=end(outs, "out", "y") if outs else (),
    )  # fmt: skip
    return Mesh(wiring, timing=FAST)


async def source(folder: Path, delivery: str, port: int) -> None:
    """Every number again until it was acknowledged; the number is the message's key."""
    acknowledged = folder / "acknowledged"
    async with _mesh("source", delivery, None, port) as mesh:
        out, number = mesh.output("out"), len(_lines(acknowledged))
        while not (folder / "stop").exists():
            few = range(number, number + FLUSH_EVERY)
            for n in few:
                await out.send(n, key=str(n) if delivery == "exactly-once" else None)
            await out.flush()
            _append(acknowledged, "".join(f"{n}\n" for n in few))
            number += FLUSH_EVERY


async def middle(folder: Path, delivery: str, ins: int, outs: int) -> None:
    async with _mesh("middle", delivery, ins, outs) as mesh:
        async for message in mesh.input("in"):
            await mesh.output("out").send(2 * message.value, reply_to=message)


async def sink(folder: Path, delivery: str, port: int) -> None:
    heard = folder / "heard"
    known = {line.split()[0] for line in _lines(heard)}
    async with _mesh("sink", delivery, port, None) as mesh:
        async for message in mesh.input("in"):
            if delivery == "exactly-once" and message.id in known:
                continue
            known.add(message.id)
            _append(heard, f"{message.id} {message.value}\n")


def main(folder: str, delivery: str, first: str, second: str) -> None:
    """The nursery: modules are forked, so that starting one doesn't take an interpreter's start."""
    path, ports = Path(folder), (int(first), int(second))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    hop = {"source": (path, delivery, ports[0]), "sink": (path, delivery, ports[1])}
    for line in sys.stdin:
        role = line.strip()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            work = {"source": source, "middle": middle, "sink": sink}[role]
            arguments = hop.get(role, (path, delivery, *ports))
            try:
                asyncio.run(work(*arguments))
            except BaseException:  # noqa: BLE001 - a fork must not go on as the nursery
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
