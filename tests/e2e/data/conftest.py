"""`place`: an agent with a runtime, words for its modules, and a folder that it may mount from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.folders import write_tree
from helpers.otter import Otter, wait_for


@dataclass
class Place:
    """One runtime under test.

    Attributes:
        data: A folder below which the agent may show everything.
        head: What each module's table begins with.
    """

    otter: Otter
    runtime: str
    data: Path
    head: str

    @property
    def config(self) -> Path:
        """The agent's configuration file."""
        return self.otter.root / "a" / "agent.toml"

    def module(self, script: str = "exec sleep 1000", name: str = "m", **keys: str) -> str:
        """The table of a module that runs a shell script; `keys` are TOML."""
        more = "".join(f"{key} = {value}\n" for key, value in keys.items())
        text = script.replace("\\", "\\\\").replace('"', '\\"')
        return f'[modules.{name}]\n{self.head}command = ["sh", "-c", "{text}"]\n{more}'

    def topology(self, *modules: str, name: str = "data", top: str = "") -> Path:
        """A topology file with one host."""
        text = f'name = "{name}"\n{top}[hosts.h]\n' + "".join(modules)
        return self.otter.topology(text, f"{name}.toml")

    def mounts(self, **targets: str) -> str:
        """`{ "/data" = { from = … } }`: each keyword's name is a target without its slash."""
        pairs = [f'"/{name}" = {{ {value} }}' for name, value in targets.items()]
        return f"{{ {', '.join(pairs)} }}"

    def inside(self, *words: str, module: str = "m", code: int | None = 0) -> str:
        """What a command in a module prints."""
        return self.otter("exec", "-m", "data", module, "--", *words, code=code).stdout

    def say(self, module: str = "m") -> str:
        """All that a module has printed."""
        return self.otter("logs", "-m", "data", module, code=None).stdout

    def says(self, *words: str, module: str = "m") -> str:
        """All that a module has printed, once these words are among it.

        It is ready before its script is through; and what it wrote to one of its two outputs may
        be in the log before what it wrote to the other.
        """

        def said() -> str:
            text = self.say(module)
            return text if all(word in text for word in words) else ""

        text: str = wait_for(said, f"{module} never said {words}")
        return text


@pytest.fixture(params=["process", "docker"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each runtime in turn."""
    if request.param == "docker":
        image = request.getfixturevalue("busybox_image")
        otter = request.getfixturevalue("docker_otter")
        head = f'runtime = "docker"\nimage = "{image}"\n'
    else:
        otter = request.getfixturevalue("shared_otter")
        head = 'runtime = "process"\n'
    data = otter.root / "allowed"
    write_tree(data, {"x": "of x\n", "deep/er/y": "of y\n"})
    made = Place(otter, request.param, data, head)
    made.config.parent.mkdir(exist_ok=True)
    made.config.write_text(f'mount_roots = ["{data}"]\n')
    yield made
    made.config.unlink()
    os.rename(data, otter.root / f"used-{os.urandom(4).hex()}")
