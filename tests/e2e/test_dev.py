"""`otterctl dev`: a save restarts the module and nothing else; the end puts it back."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.otter import Otter, wait_for

pytestmark = pytest.mark.netns

PROCESS = """
name = "dev"
[defaults.module]
runtime = "process"
[hosts.a]
[modules.m]
build = "folder"
host = "a"
restart = "always"
[modules.other]
host = "a"
command = ["sleep", "1000"]
"""
DOCKER = """
name = "dev"
[hosts.a]
[modules.m]
build = "folder"
host = "a"
[modules.other]
host = "a"
image = "{image}"
"""
SCRIPT = {
    "process": "import time\nprint('version {version}', flush=True)\ntime.sleep(1000)\n",
    "docker": "echo version {version}\nexec sleep 1000\n",
}
FILE = {"process": "module.py", "docker": "run.sh"}
BROKEN = {"process": "print('before')\ndef broken(\n", "docker": "echo before\nexit 3\n"}
SAID = {"process": "SyntaxError", "docker": "before"}


class Dev:
    """A mesh of a module with a folder and of another, and `otterctl dev` on the first."""

    def __init__(self, otter: Otter, runtime: str, topology: str, folder: Path) -> None:
        self.otter, self.runtime, self.folder = otter, runtime, folder
        self.file = otter.topology(topology)
        self.verb: subprocess.Popen[str] | None = None
        self._out = otter.root / "dev.out"
        self._err = otter.root / "dev.err"

    def save(self, version: object) -> None:
        self.write(SCRIPT[self.runtime].format(version=version))

    def write(self, text: str) -> None:
        """As an editor does: another file, renamed.

        Not one of this folder: where the writer stands still in between, it is a save of its own.
        """
        fresh = self.otter.root / "module.swp"
        fresh.write_text(text)
        fresh.replace(self.folder / FILE[self.runtime])

    def start(self, *arguments: object) -> None:
        with self._out.open("w") as out, self._err.open("w") as err:
            self.verb = self.otter.popen("dev", "m", *arguments, stdout=out, stderr=err)
        self.said("watching")

    @property
    def shown(self) -> str:
        """What the module printed."""
        return self._out.read_text()

    @property
    def told(self) -> str:
        """What the verb says itself."""
        return self._err.read_text()

    def shows(self, text: str) -> None:
        wait_for(
            lambda: text in self.shown,
            lambda: f"never shown: {text!r}; {self.shown}; {self.told}",
        )

    def said(self, text: str) -> None:
        wait_for(
            lambda: text in self.told or self._ended(),
            lambda: f"never said {text!r}: {self.told}",
        )
        assert text in self.told, self.told

    def _ended(self) -> bool:
        return self.verb is not None and self.verb.poll() is not None

    def end(self, number: int = signal.SIGINT) -> int:
        assert self.verb is not None
        if self.verb.poll() is None:
            self.verb.send_signal(number)
        return self.ends()

    def ends(self) -> int:
        """By itself."""
        assert self.verb is not None
        code = self.verb.wait(120)
        assert "Traceback" not in self.told, self.told
        return code

    def state(self) -> dict[str, dict[str, object]]:
        return self.otter.modules("dev")


@pytest.fixture(params=["process", "docker"])
def dev(request) -> Iterator[Dev]:
    """Applied, and started."""
    runtime = request.param
    topology = PROCESS
    if runtime == "docker":
        image = request.getfixturevalue("busybox_image")
        otter = request.getfixturevalue("docker_otter")
        topology = DOCKER.format(image=image)
    else:
        otter = request.getfixturevalue("shared_otter")
    folder = otter.root / "folder"
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir()
    if runtime == "docker":
        (folder / "Dockerfile").write_text(
            f'FROM {image}\nCOPY . /app/\nWORKDIR /app\nCMD ["sh", "run.sh"]\n'
        )
    one = Dev(otter, runtime, topology, folder)
    one.save(1)
    otter("apply", one.file)
    yield one
    if one.verb is not None and one.verb.poll() is None:
        one.verb.kill()
        one.verb.wait(30)


def test_a_save_restarts_the_module_alone_and_the_end_puts_it_back(dev):
    before = dev.state()
    dev.start()
    for version in (2, 3, 4):
        dev.save(version)
        dev.shows(f"version {version}")
    dev.said("m restarted")
    during = dev.state()
    assert during["m"]["pid"] != before["m"]["pid"]
    assert during["other"]["pid"] == before["other"]["pid"]
    dev.save(1)
    dev.shows("version 1")
    assert dev.end() == 0
    assert "putting m back to what was applied" in dev.told
    assert "is not what m runs now" not in dev.told
    after = dev.otter.wait_state("dev", "m", "ready")
    assert after["restarts"] == 0
    assert dev.state()["other"]["pid"] == before["other"]["pid"]
    assert dev.state()["other"]["restarts"] == 0
    assert "nothing to change" in dev.otter("apply", dev.file).stdout
    # A container's log goes with it, a process's stays.
    lives = (1,) if dev.runtime == "docker" else (1, 2, 3, 4, 1, 1)
    lines: list[object] = []

    def all_lines() -> bool:
        lines[:] = [line["text"] for line in ndjson(dev.otter("logs", "m", "--json").stdout)]
        return len(lines) >= len(lives)

    wait_for(all_lines, f"the last life's word is missing: {lines}")
    assert lines == [f"version {n}" for n in lives]


def ndjson(text: str) -> list[dict[str, object]]:
    import json

    return [json.loads(line) for line in text.splitlines()]


def test_a_save_that_fails_waits_for_the_next_one(dev):
    dev.start()
    dev.write(BROKEN[dev.runtime])
    dev.shows(SAID[dev.runtime])
    dev.said("waiting for the next save")
    assert dev.otter.wait_state("dev", "m", "failed")["restarts"] == 0
    assert dev.shown.count(SAID[dev.runtime]) == 1
    dev.save("mended")
    dev.shows("version mended")
    dev.otter.wait_state("dev", "m", "ready")
    assert dev.end(signal.SIGTERM) == 0
    assert "is not what m runs now: `otterctl apply` brings it in" in dev.told
    plan = dev.otter.json("plan", dev.file)
    assert [(c["kind"], c["name"]) for c in plan["changes"]] == [("replace", "m")]
    dev.otter("apply", dev.file)
    wait_for(
        lambda: "version mended" in dev.otter("logs", "m", "--tail", "1").stdout,
        "what was brought in never ran",
    )


def test_what_takes_a_build_is_built(dev):
    dev.start()
    name = "Dockerfile" if dev.runtime == "docker" else "requirements.txt"
    file = dev.folder / name
    file.write_text((file.read_text() if file.exists() else "") + "# changed\n")
    dev.said(f"{name} changed: m is built anew")
    dev.said("m is ready")
    dev.save("after the build")
    dev.shows("version after the build")
    assert dev.end() == 0
    assert dev.otter.wait_state("dev", "m", "ready")


def test_a_folder_that_has_changed_before_is_built_first(dev):
    dev.save("changed before")
    dev.start()
    dev.said("has changed since it was applied: it is built")
    dev.shows("version changed before")
    assert dev.end() == 0


def test_an_apply_meanwhile_is_taken_as_what_is_wanted(dev):
    dev.start()
    dev.save(2)
    dev.shows("version 2")
    dev.otter("apply", dev.file, "--set", "modules.m.env.X=1")
    dev.save(3)
    dev.said("was changed by somebody else: going on from what it is now")
    dev.shows("version 3")
    assert dev.end() == 0
    assert dev.otter("exec", "m", "--", "sh", "-c", "echo $X").stdout == "1\n"


def test_a_mesh_that_is_destroyed_ends_it(dev):
    dev.start()
    dev.otter("destroy", "--yes", "--no-fetch")
    assert dev.ends() == 1
    assert "by somebody else" in dev.told


def test_what_can_not_be_worked_on_is_said(dev):
    assert "not in mesh dev" in dev.otter("dev", "nobody", "--path", dev.folder, code=1).stderr
    done = dev.otter("dev", "other", "--path", dev.folder, code=2)
    assert "has no build folder" in done.stderr
    dev.start()
    dev.save(2)
    dev.shows("version 2")
    done = dev.otter("dev", "m", code=1)
    assert "is being worked on already" in done.stderr
    assert dev.end() == 0
    os.unlink(dev.file)
    done = dev.otter("dev", "m", code=2)
    assert "isn't at hand here; say which folder: otterctl dev m --path DIR" in done.stderr


def test_what_a_killed_dev_leaves_an_apply_puts_back(shared_otter):
    otter = shared_otter
    folder = otter.root / "folder"
    subprocess.run(["rm", "-rf", folder], check=True)
    folder.mkdir()
    dev = Dev(otter, "process", PROCESS, folder)
    dev.save(1)
    otter("apply", dev.file)
    before = dev.state()
    dev.start()
    dev.save(2)
    dev.shows("version 2")
    otter.kill_agent()
    code = dev.end()
    assert code == 1, (code, dev.told)
    assert "stays as it was saved last: `otterctl apply` puts it back" in dev.told
    otter.serve()
    otter.wait_state("dev", "m", "ready")  # the agent goes on with what was saved
    assert dev.state()["other"]["pid"] == before["other"]["pid"]
    otter("apply", dev.file)
    assert "nothing to change" in otter("apply", dev.file).stdout
    assert dev.state()["other"]["pid"] == before["other"]["pid"]


STREAMS = """
name = "dev"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
between = ["a", "b"]
[modules.source]
build = "source"
host = "a"
[modules.m]
build = "folder"
host = "b"
[[streams]]
from = "source.numbers"
to = "m.numbers"
"""
SOURCE = """
import asyncio, itertools, net

async def main(mesh):
    for number in itertools.count():
        await mesh.output("numbers").send(number)
        await asyncio.sleep(0.01)

net.run(main)
"""
SINK = """
import net

async def main(mesh):
    async for message in mesh.input("numbers"):
        print("{version} got", message.value, flush=True)

net.run(main)
"""


def test_streams_of_peers_connect_again(shared_otter):
    otter = shared_otter
    for name, text in (("source", SOURCE), ("folder", SINK.format(version="one"))):
        folder = otter.root / name
        subprocess.run(["rm", "-rf", folder], check=True)
        folder.mkdir()
        (folder / "module.py").write_text(textwrap.dedent(text))
    dev = Dev(otter, "process", STREAMS, otter.root / "folder")
    otter("apply", dev.file)
    before = dev.state()["source"]["pid"]
    dev.start()
    dev.shows("one got")
    for version in ("two", "three"):
        dev.write(SINK.format(version=version))
        dev.shows(f"{version} got")
    assert dev.end() == 0
    after = dev.state()["source"]
    assert (after["pid"], after["restarts"]) == (before, 0)
