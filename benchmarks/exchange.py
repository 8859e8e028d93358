"""The two ends of a stream in processes of their own, for measurements and for tests of paths.

    python -m benchmarks.exchange recv --transport udp --at 10.0.0.2
    python -m benchmarks.exchange send --transport udp --to 10.0.0.2:9000 --bytes 102400 --count 100

`recv` prints its port, and when the stream has ended one JSON document: seconds that each message
took from `send` until it was there (both ends share a clock), bytes and duration, counters.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource

import numpy as np

from net import datagram, stream


def main() -> None:
    """One end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exchange", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("end", choices=["send", "recv"])
    parser.add_argument("--transport", choices=["tcp", "udp"], default="udp")
    parser.add_argument("--at", default="127.0.0.1", help="where to receive")
    parser.add_argument("--to", default="", help="ADDRESS:PORT of the receiver")
    parser.add_argument("--bytes", type=int, default=2**20)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--every", type=float, default=0.0, help="seconds from message to message")
    parser.add_argument("--streams", type=int, default=1, help="that share the messages")
    parser.add_argument("--fec", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=0.0, help="bit/s")
    parser.add_argument("--mtu", type=int, default=0)
    parser.add_argument("--deadline", type=float, default=5.0)
    parser.add_argument("--single", action="store_true", help="a call per datagram (no GSO)")
    args = parser.parse_args()
    found = asyncio.run(send(args) if args.end == "send" else receive(args))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(found | {"cpu_s": used.ru_utime + used.ru_stime}), flush=True)


async def receive(args: argparse.Namespace) -> dict[str, object]:
    """Until the stream has ended."""
    listen = datagram.listen if args.transport == "udp" else stream.listen
    took_s: list[float] = []
    nbytes, first, last = 0, 0.0, 0.0
    async with listen(args.at, 0, ["x"], queue=64) as listener:
        print(listener.port, flush=True)
        inbox = listener.inputs["x"]
        async for message in inbox:
            took_s.append(message.received - message.made)
            first = first or message.made
            last = message.received
            nbytes += message.value.nbytes
            message.value = None
        counters = {name: edge.stats.extra for name, edge in inbox.edges.items()}
    span_s = last - first
    return {"took_s": took_s, "bytes": nbytes, "span_s": span_s, "counters": counters}


async def send(args: argparse.Namespace) -> dict[str, object]:
    """All messages, and the end: over several streams, which take turns, if asked for."""
    value = np.random.default_rng(1).integers(0, 256, args.bytes, np.uint8)
    senders = [_sender(args, f"a{n or ''}") for n in range(args.streams)]
    for sender in senders:
        await sender.open()  # as a module does, whose first message shan't pay for it
    async with asyncio.TaskGroup() as group:
        for n, sender in enumerate(senders):
            group.create_task(_send(sender, value, args, n * args.every / args.streams))
    ended = [await sender.aclose() for sender in senders]
    return {"ended": all(ended), "counters": senders[0].stats().extra}


def _sender(args: argparse.Namespace, name: str) -> datagram.Sender | stream.Sender:
    address, _, port = args.to.rpartition(":")
    if args.transport == "udp":
        options = datagram.Options(
            deadline_s=args.deadline, fec_ratio=args.fec, rate_bps=args.rate,
            mtu_bytes=args.mtu, batch=not args.single,
        )  # fmt: skip
        return datagram.connect(address, int(port), input="x", sender=name, options=options)
    return stream.connect(address, int(port), input="x", sender=name)


async def _send(
    sender: datagram.Sender | stream.Sender,
    value: np.ndarray,
    args: argparse.Namespace,
    wait: float,
) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time() + wait
    for _ in range(args.count // args.streams):
        if args.every:
            await asyncio.sleep(max(0.0, due - loop.time()))
        await sender.send(value)
        due += args.every


if __name__ == "__main__":
    main()
