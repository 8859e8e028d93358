"""Sends text and arrays to every server it has streams to, and checks what comes back.

For each output there is an input of the same name that brings the replies. It ends with 0 when
every reply was right.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

import net


def exchanges() -> list[tuple[str, Any, Any]]:
    """What to send, and what must come back: (title, request, reply)."""
    picture = np.arange(480 * 640 * 3, dtype=np.uint8).reshape(480, 640, 3)
    signal = np.linspace(-1, 1, 16_000, dtype=np.float32)
    return [
        ("a string", "What animal is it?", "WHAT ANIMAL IS IT?"),
        ("a string beyond ASCII", "größer als 1 µm", "GRÖSSER ALS 1 ΜM"),
        ("a picture", picture, picture[::-1]),
        ("a signal", signal, signal[::-1]),
        ("an empty array", np.empty((0, 4)), np.empty((0, 4))),
        ("both", {"text": "otter", "signal": signal}, {"text": "OTTER", "signal": signal[::-1]}),
    ]


def same(one: Any, other: Any) -> bool:
    """Equal in type, dtype, shape and content."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(
            same(one[key], other[key]) for key in one
        )  # fmt: skip
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and np.array_equal(one, other)
        )
    return type(one) is type(other) and bool(one == other)


async def main(mesh: net.Mesh) -> None:
    """Exchange everything with every server."""
    await mesh.ready()
    wrong = 0
    for server in mesh.outputs:
        replies = mesh.input(server)
        for title, request, expected in exchanges():
            start = time.perf_counter()
            sent = await mesh.output(server).send(request)
            reply = await replies.receive()
            took = (time.perf_counter() - start) * 1000
            right = reply.reply_to == sent and same(expected, reply.value)
            wrong += not right
            print(f"{server}: {title}: {'equal' if right else 'DIFFERENT'} after {took:.2f} ms")
    if wrong:
        sys.exit(f"{wrong} replies were wrong")
    print(f"all exchanges with {', '.join(mesh.outputs)} were right")


if __name__ == "__main__":
    net.run(main)
