"""The smallest module: it says hello and ends."""

from __future__ import annotations

import net


async def main(mesh: net.Mesh) -> None:
    """Say hello."""
    await mesh.ready()
    print("Hello world from the container")
    print(f"I am module {mesh.module} on host {mesh.host} of mesh {mesh.name}")


if __name__ == "__main__":
    net.run(main)
