"""Machines in memory: many agents in one process, each with the drivers that make nothing.

    otter-agent fake 100 --root DIR      DIR/site.toml names fake1 … fake100, until Ctrl-C

All that isn't a driver is real: the API on a Unix socket each, the state in sqlite, the keeper of
each mesh, folders and events. So a mesh on a thousand machines can be planned, applied, watched and
destroyed on a laptop, without root, to see what of that isn't as quick as it should be. Many are
shared out over as many processes as there are processors: a Python computes on one at a time. Must
not know: controllers, topologies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from net.errors import OtterError
from otter_agent import api
from otter_agent.agent import Agent
from otter_agent.api.places import Places
from otter_agent.errors import AgentError
from otter_agent.ground.ground import Ground
from otter_agent.images.fake import FakeImages
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks
from otter_agent.machine import Config, Machine
from otter_agent.network import Network
from otter_agent.network.scarcity import Scarcity
from otter_agent.runtimes.fake import FakeRuntime
from otter_agent.server import serving
from otter_agent.service import LONGEST_SOCKET_PATH, look_seldom_for_garbage
from otter_agent.state import State

MOST = 4000
"""Machines: as many as have an address each."""
FEW = 50
"""Machines for which one more process isn't worth its start."""
PREFIX = "fake"
_ENDING_S = 10.0
RTT_S = 0.0002
"""What they say of the way to each other: a switch's."""
RATE_BPS = 10e9


class FakeNetwork(Network):
    """A network without namespaces: whatever is asked of it is there at once."""

    def converge(self, spec: api.MeshSpec, scarcity: Scarcity | None = None) -> None:
        """See `Network`; links are made "scarce" by their driver, which is a fake, too."""
        if scarcity is not None:
            scarcity.kinds()
            scarcity.devices_are_there()

    def reroute(self, spec: api.MeshSpec, hosts: Collection[str]) -> None:
        """See `Network`."""

    def open_outside(self, spec: api.MeshSpec) -> None:
        """See `Network`."""

    def unplug(self, mesh: str, host: str, module: str) -> None:
        """See `Network`."""

    def remove(self, mesh: str) -> None:
        """See `Network`."""

    def remove_others(self, meshes: Collection[str]) -> None:
        """See `Network`."""

    def meshes(self) -> set[str]:
        """See `Network`."""
        return set()

    def lost(self) -> list[str]:
        """See `Network`."""
        return []


def address_of(number: int) -> str:
    """The address for data of machine `number`, from 1: of loopback, where nobody else is."""
    return f"127.79.{number // 250}.{number % 250 + 1}"


def machine(number: int, root: Path, agent_id: str) -> Machine:
    """One of them.

    Args:
        number: From 1.
        root: The folder of all.
        agent_id: Its agent's.
    """
    name = f"{PREFIX}{number}"
    here = root / name
    places = Places(here, here, here / "agent.toml")
    fact = api.NetworkFact(device="fake0", address=address_of(number), prefix=8, mtu=1500)
    return Machine(
        ground=Ground(places=places),
        config=Config(root=here, name=name),
        agent_id=agent_id,
        network=FakeNetwork(agent_id),
        cgroups=None,
        runtimes={"fake": FakeRuntime()},
        stores={"fake": FakeImages()},
        links=Choice(driver=FakeLinks(), why="a fake machine has fake links"),
        networks=lambda: (fact,),
        underlay=_measured,
        knock=lambda asked: api.Knocked(answered=(True,) * len(asked.doors)),
        reach=lambda local, remote, mtu: api.Reach(rtt_s=RTT_S, whole=True),
        nvml=lambda: None,
    )


def _measured(asked: api.Probing) -> api.Measured:
    """Nothing is sent: a thousand machines would measure this computer, and for a minute."""
    if not asked.remote:
        return api.Measured(port=api.UDP_PORT)
    return api.Measured(rtt_s=RTT_S, forth_bps=RATE_BPS, back_bps=RATE_BPS)


def site(count: int, root: Path) -> str:
    """A site file for controllers on this computer."""
    return "\n".join(
        f"[machines.{PREFIX}{n}]\ndirect = true\n"
        f'socket = "{root}/{PREFIX}{n}/agent.sock"\ndata = "{address_of(n)}"\n'
        for n in range(1, count + 1)
    )


def serve(count: int, root: Path, ready: Callable[[Path], None]) -> None:
    """Have that many machines until SIGTERM or SIGINT.

    Args:
        count: How many.
        root: Folder of all their state.
        ready: Told of the site file once all of them answer.

    Raises:
        AgentError: So many can't be had, or not there; or a process with some of them ended.
        OSError: The folder can't be written.
    """
    root = root.absolute()
    longest = f"{root}/{PREFIX}{count}/agent.sock"
    if not 0 < count <= MOST or len(longest.encode()) > LONGEST_SOCKET_PATH:
        why = f"{count} machines" if count > MOST or count < 1 else f"{longest}: too long a path"
        raise AgentError("bad-request", why, hint=f"1 to {MOST}, in a folder with a shorter name")
    _room_for_files()
    root.mkdir(parents=True, exist_ok=True)
    asked, asking = os.pipe()  # not an event: whoever waits has to be woken
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(asking, b"."))
    with contextlib.ExitStack() as stack:
        parts = [
            stack.enter_context(_process(numbers, root))
            for numbers in shares(count, len(os.sched_getaffinity(0)))
        ]
        ends = [part.sentinel for part, _ in parts]
        for _, said in parts:
            if asked in wait([said, asked, *ends]):
                return
            _hear(said)
        path = root / "site.toml"
        path.write_text(site(count, root))
        ready(path)
        if asked not in wait([asked, *ends]):
            raise AgentError("failed", "a process with some of the machines ended")


def shares(count: int, processors: int) -> list[range]:
    """Numbers of the machines that each process has; one has all where they are few."""
    processes = max(1, min(processors, count // FEW))
    return [range(1 + n, count + 1, processes) for n in range(processes)]


@contextlib.contextmanager
def _process(numbers: range, root: Path) -> Iterator[tuple[BaseProcess, Connection]]:
    """One with some of the machines, and what it says once they are there: "", or what is wrong."""
    forks = get_context("fork")  # nothing runs here yet that a fork could break
    said, saying = forks.Pipe(duplex=False)
    made = forks.Process(target=_part, args=(numbers, root, saying), name=f"{PREFIX}{numbers[0]}")
    made.start()
    saying.close()
    try:
        yield made, said
    finally:
        made.terminate()
        made.join(_ENDING_S)
        made.kill()  # asked before it could listen
        made.join()
        said.close()


def _hear(said: Connection) -> None:
    """Raises `AgentError` if what it says isn't that all is well."""
    try:
        problem = said.recv_bytes().decode()
    except EOFError:
        problem = "a process with some of the machines ended"
    if problem:
        raise AgentError("failed", problem)


def _part(numbers: range, root: Path, saying: Connection) -> None:
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, signal.SIG_DFL)
    try:
        asyncio.run(_have(numbers, root, lambda: saying.send_bytes(b"")))
    except (OtterError, OSError) as error:
        saying.send_bytes(str(error).encode())


async def _have(numbers: range, root: Path, there: Callable[[], None]) -> None:
    """Some machines, until SIGTERM or SIGINT, or the process that has started this one is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for asked in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(asked, stop.set)
    if (above := parent_process()) is not None:
        loop.add_reader(above.sentinel, stop.set)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for number in numbers:  # one by one: a socket's mode is set by the umask
            await stack.enter_async_context(_serving(number, root, group, stop))
        look_seldom_for_garbage()
        there()
        await stop.wait()


@contextlib.asynccontextmanager
async def _serving(
    number: int, root: Path, group: asyncio.TaskGroup, stop: asyncio.Event
) -> AsyncIterator[None]:
    (root / f"{PREFIX}{number}").mkdir(parents=True, exist_ok=True)
    state = State(root / f"{PREFIX}{number}" / "state.sqlite")
    try:
        made = machine(number, root, state.agent_id())
        agent = Agent(made, state, on_idle=lambda: None)
        started = asyncio.Event()
        group.create_task(agent.serve(started, stop), name=made.config.name)
        await started.wait()
        async with serving(agent, made.layout.socket):
            yield
    finally:
        state.close()


def _room_for_files() -> None:
    """Each has a socket and a database, each request a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
