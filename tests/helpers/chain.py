"""A chain of modules, each a process that can be killed and started again within milliseconds.

    python chain.py FOLDER DELIVERY TRANSPORT PORT PORT

Reads roles from stdin and forks one for each line:
`source` sends numbers until `FOLDER/stop` is there, and writes down what was acknowledged;
`middle` doubles them, and writes down what it has taken; `sink` writes down what it gets, with its
id, and drops ids that it has (exactly-once). `load` uses a processor as long as the nursery lives.
Through shared memory some of the numbers are large arrays, which lie there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


@dataclass(frozen=True)
class Chain:
    """How the modules are joined.

    Attributes:
        ports: Of the first hop and the second; with a single hop they are the same.
    """

    folder: Path
    delivery: str
    transport: str
    ports: tuple[int, int]

    def mesh(self, role: str, ins: int | None, outs: int | None) -> Mesh:
        wiring = Wiring(
            "chain", role, "h", HERE,
            inputs=self._end(ins, "in", "x") if ins else (),
            outputs=self._end(outs, "out", "y") if outs else (),
        )  # fmt: skip
        return Mesh(wiring, timing=FAST)

    def _end(self, port: int, name: str, peer: str) -> tuple[StreamEnd, ...]:
        stream, path = f"x.out>y{port}.in", str(self.folder / f"s{port}")
        return (
            StreamEnd(
                stream, name, peer, HERE, port, delivery=self.delivery, transport=self.transport,
                path=path if self.transport == "shm" else "",
            ),
        )  # fmt: skip

    def value(self, n: int) -> Any:
        """What a number is sent as."""
        return np.full(20_000, n) if self.transport != "tcp" and n % 3 == 0 else n


def number_of(value: Any) -> int:
    """The number that it was sent for, all of it."""
    array = np.asarray(value)
    assert array.min() == array.max()
    return int(array.min())


async def source(chain: Chain) -> None:
    """Every number again until it was acknowledged; the number is the message's key."""
    acknowledged = chain.folder / "acknowledged"
    keyed = chain.delivery == "exactly-once"
    async with chain.mesh("source", None, chain.ports[0]) as mesh:
        out, number = mesh.output("out"), len(_lines(acknowledged))
        while not (chain.folder / "stop").exists():
            few = range(number, number + FLUSH_EVERY)
            for n in few:
                await out.send(chain.value(n), key=str(n) if keyed else None)
            await out.flush()
            _append(acknowledged, "".join(f"{n}\n" for n in few))
            number += FLUSH_EVERY


async def middle(chain: Chain) -> None:
    """At least once is a promise per hop: it takes no other before the sink has acknowledged."""
    taken = chain.folder / "taken"
    async with chain.mesh("middle", *chain.ports) as mesh:
        async for message in mesh.input("in"):
            _append(taken, f"{message.id} {number_of(message.value)}\n")
            await mesh.output("out").send(2 * message.value, reply_to=message)
            if chain.delivery == "at-least-once":
                await mesh.output("out").flush()


async def sink(chain: Chain) -> None:
    heard = chain.folder / "heard"
    known = {line.split()[0] for line in _lines(heard)}
    async with chain.mesh("sink", chain.ports[1], None) as mesh:
        async for message in mesh.input("in"):
            if chain.delivery == "exactly-once" and message.id in known:
                continue
            known.add(message.id)
            _append(heard, f"{message.id} {number_of(message.value)}\n")


async def load(chain: Chain) -> None:
    """Another program that has work to do."""
    nursery = os.getppid()
    while os.getppid() == nursery:
        sum(range(100_000))


def main(folder: str, delivery: str, transport: str, first: str, second: str) -> None:
    """The nursery: modules are forked, so that starting one doesn't take an interpreter's start."""
    chain = Chain(Path(folder), delivery, transport, (int(first), int(second)))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        role = line.strip()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            work = {"source": source, "middle": middle, "sink": sink, "load": load}[role]
            try:
                asyncio.run(work(chain))
            except BaseException:  # noqa: BLE001 - a fork must not go on as the nursery
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
