"""One harness per runtime: how to open it, and how to say "sleep" or "exit 3" in its terms.

To put a runtime under the contract, write a harness and name it in `HARNESSES`. The tests of the
suite know nothing else of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from helpers.workloads import make_workload

from otter_agent.cgroups import open_cgroups, probe
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Workload
from otter_agent.runtimes.docker import DockerRuntime
from otter_agent.runtimes.fake import FakeRuntime, FakeWorld
from otter_agent.runtimes.process import ProcessRuntime

ON_BOTH_LOOPS = {
    "test_accounts.py",
    "test_datagram_peers.py",
    "test_datagrams.py",
    "test_delivery.py",
    "test_mesh.py",
    "test_shared_peers.py",
    "test_shared_streams.py",
    "test_streams.py",
    "test_threaded.py",
}
"""What shall work on asyncio's event loop and on uvloop's, where that is installed."""


def pytest_asyncio_loop_factories(item):
    """The event loops that a test runs on, one after the other."""
    loops = {"asyncio": asyncio.new_event_loop}
    if item.path.name in ON_BOTH_LOOPS and importlib.util.find_spec("uvloop"):
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture
async def unknown_names(monkeypatch):
    """No name is known, and no server of the network's is asked, who may not answer."""

    async def nobody(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", nobody)


class Harness(ABC):
    """What a runtime needs for the suite; commands are those of a real one with a shell.

    Attributes:
        real: Whether there are processes, namespaces and control groups to look at.
        runtime: The one under test, open.
    """

    real = True
    image = ""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.agent_id = f"t{uuid.uuid4().hex[:8]}"

    @abstractmethod
    async def open(self) -> None:
        """Open `runtime`."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of `runtime` without touching what it runs, as when an agent is killed."""

    async def reopen(self) -> None:
        """A new agent over the same machine."""
        await self.close()
        await self.open()

    async def clean_up(self) -> None:
        """Leave nothing behind."""
        for instance in await self.runtime.list():
            await self.runtime.remove(instance.key)
        await self.close()

    def make_workload(self, kind: str, *words: object, **options: object) -> Workload:
        """A workload of a kind: `sleeps`, `exits N`, `prints TEXT…`, `says TEXT…` and lives on,
        `stubborn`, `shows_network`, `missing`, `eats` memory; options are those of
        `helpers.workloads.make_workload`."""
        argv = self.command(kind, *[str(word) for word in words])
        return make_workload(self.layout, self.image, argv, **options)

    def command(self, kind: str, *words: str) -> tuple[str, ...]:
        """A command of a kind; `cats` too: it gives its input back and then exits."""
        match kind:
            case "sleeps":
                return ("sleep", "3600")
            case "exits":
                return ("sh", "-c", f"exit {words[0]}")
            case "prints":
                echo = "; ".join(f"echo '{word}'" for word in words)
                return ("sh", "-c", echo)
            case "says":
                return (
                    "sh",
                    "-c",
                    "; ".join([*(f"echo '{word}'" for word in words), "sleep 3600"]),
                )
            case "stubborn":
                script = "trap : TERM; sleep 3600 & sleep 3600 & echo up; while true; do wait; done"
                return ("sh", "-c", script)
            case "shows_network":
                return ("sh", "-c", "ls /sys/class/net; hostname; cat /etc/hosts")
            case "cats":
                return ("cat",)
            case "eats":
                return ("sh", "-c", "x=x; while true; do x=$x$x; done")
            case "missing":
                return ("/no/such/program",)
        raise ValueError(kind)


class FakeHarness(Harness):
    """Everything in memory."""

    real = False

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.world = FakeWorld()

    async def open(self) -> None:
        self.runtime = FakeRuntime(world=self.world)

    async def close(self) -> None:
        pass

    def command(self, kind: str, *words: str) -> tuple[str, ...]:
        match kind:
            case "sleeps" | "shows_network":
                return ("sleep",)
            case "exits":
                return ("exit", words[0])
            case "prints":
                return (*(part for word in words for part in ("print", word)), "exit", "0")
            case "says":
                return tuple(part for word in words for part in ("print", word))
            case "stubborn":
                return ("stubborn", "print", "up")
        return super().command(kind, *words)


class ProcessHarness(Harness):
    """Real processes, in control groups and namespaces."""

    async def open(self) -> None:
        self.cgroups = open_cgroups(self.agent_id)
        self.runtime = ProcessRuntime(self.layout, self.agent_id, self.cgroups, launcher_idle_s=0.2)

    async def close(self) -> None:
        await self.runtime.aclose()

    async def clean_up(self) -> None:
        await super().clean_up()
        self.cgroups.kill("")
        self.cgroups.remove("")


class DockerHarness(Harness):
    """Real containers, on an engine that the tests start."""

    async def open(self) -> None:
        self.cgroups = open_cgroups(self.agent_id)
        self.runtime = DockerRuntime(self.url, self.agent_id, self.layout, self.cgroups)

    async def close(self) -> None:
        await self.runtime.aclose()

    async def clean_up(self) -> None:
        await super().clean_up()
        self.cgroups.remove("")


HARNESSES = {"fake": FakeHarness, "process": ProcessHarness, "docker": DockerHarness}


@pytest.fixture(params=sorted(HARNESSES))
async def harness(request, tmp_path, require) -> AsyncIterator[Harness]:
    """Each runtime in turn, open; cleaned up after."""
    async for made in opened(request, tmp_path, require):
        yield made


@pytest.fixture(params=sorted(name for name, made in HARNESSES.items() if made.real))
async def real_harness(request, tmp_path, require) -> AsyncIterator[Harness]:
    """Each runtime that has processes, namespaces and control groups to look at."""
    async for made in opened(request, tmp_path, require):
        yield made


async def opened(request: pytest.FixtureRequest, tmp_path: Path, require) -> AsyncIterator[Harness]:
    """One harness, open; cleaned up after."""
    name = request.param
    if HARNESSES[name].real:
        usable = os.geteuid() == 0 and probe().version != "none"
        require("netns", usable, probe().detail or "not root")
    made = HARNESSES[name](Layout.at(tmp_path / "root"))
    if isinstance(made, DockerHarness):
        made.url = request.getfixturevalue("docker_url")
        made.image = request.getfixturevalue("busybox_image")
    await made.open()
    yield made
    await made.clean_up()
