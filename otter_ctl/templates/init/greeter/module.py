"""A module that talks if a stream leaves from it, and listens if one leads to it."""

import os

import net


async def main(mesh: net.Mesh) -> None:
    """Run until there is nothing left to say or to hear."""
    if "text" in mesh.outputs:
        for number in range(1, 4):
            await mesh.output("text").send({"text": os.environ["GREETING"], "number": number})
            print(f"said number {number}")
    if "text" in mesh.inputs:
        async for message in mesh.input("text"):
            said = message.value
            line = f"{message.source} said {said['text']!r}, number {said['number']}"
            print(line)
            with (mesh.work / "heard.txt").open("a") as file:
                print(line, file=file)


net.run(main)
