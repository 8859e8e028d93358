"""Prints every text that reaches its input `text`, and keeps it in outputs/heard.txt.

It ends when all senders have ended.
"""

from __future__ import annotations

import net


async def main(mesh: net.Mesh) -> None:
    """Log and keep what comes in."""
    kept = mesh.work / "outputs" / "heard.txt"
    kept.parent.mkdir(exist_ok=True)
    with kept.open("a", buffering=1) as file:
        await mesh.ready()
        async for message in mesh.input("text"):
            milliseconds = (message.received - message.made) * 1000
            print(f"received: {message.value} (from {message.source}, {milliseconds:.1f} ms)")
            file.write(f"{message.value}\n")


if __name__ == "__main__":
    net.run(main)
