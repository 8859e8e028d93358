"""Answers on `reply` what comes in on `request`: text in capitals, arrays turned upside down.

Dicts are answered item by item. It ends when its clients have ended.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import net


def answer(value: Any) -> Any:
    """The reply to one value."""
    if isinstance(value, str):
        return value.upper()
    if isinstance(value, np.ndarray):
        return np.flip(value, axis=0) if value.ndim else value
    if isinstance(value, dict):
        return {key: answer(item) for key, item in value.items()}
    return value


def describe(value: Any) -> str:
    """One line for the log."""
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {list(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {describe(v)}" for k, v in value.items()) + "}"
    return repr(value)


async def main(mesh: net.Mesh) -> None:
    """Answer until all clients have ended."""
    await mesh.ready()
    count = 0
    async for request in mesh.input("request"):
        print(f"received from {request.source}: {describe(request.value)}")
        await mesh.output("reply").send(answer(request.value), reply_to=request)
        count += 1
    print(f"answered {count} requests")


if __name__ == "__main__":
    net.run(main)
