"""Sends coded pictures to its output `picture` at a steady pace, as a camera does.

OTTER_PICTURE_BYTES (12000), OTTER_PICTURES_PER_SECOND (10) and OTTER_SECONDS (0: without end) say
how large, how many and for how long. What the link can't carry is the stream's policy's to drop.
"""

from __future__ import annotations

import asyncio
import os
import time

import numpy as np

import net


async def main(mesh: net.Mesh) -> None:
    """Send one picture after another, each at its time."""
    size = int(os.environ.get("OTTER_PICTURE_BYTES", "12000"))
    pace = float(os.environ.get("OTTER_PICTURES_PER_SECOND", "10"))
    seconds = float(os.environ.get("OTTER_SECONDS", "0"))
    picture = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    await mesh.ready()
    start, count = time.monotonic(), 0
    while not seconds or count < seconds * pace:
        await mesh.output("picture").send(picture)
        count += 1
        await asyncio.sleep(max(0.0, start + count / pace - time.monotonic()))
    print(f"{count} pictures of {size} bytes sent")


if __name__ == "__main__":
    net.run(main)
