"""The drivers of one machine, opened once and handed to whoever needs them.

One dict literal per kind maps a config name to its driver; nothing else names a concrete driver.
Must not know: HTTP, desired state.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from net.errors import OtterError
from otter_agent import api, speed, waking
from otter_agent.abilities import accelerators
from otter_agent.admission import Holding, Room
from otter_agent.cgroups import Cgroups
from otter_agent.config import Settings
from otter_agent.config import read as read_settings
from otter_agent.errors import AgentError
from otter_agent.facts import TRIED, congestion, devices, features
from otter_agent.gpu.granting import Grants
from otter_agent.gpu.mps import Mps
from otter_agent.gpu.watch import library, once
from otter_agent.ground.ground import Ground, visit
from otter_agent.images.base import ImageStore
from otter_agent.knocking import knock
from otter_agent.layout import Layout
from otter_agent.leasing.client import Leases
from otter_agent.links import sharing
from otter_agent.links.base import LinkDriver
from otter_agent.links.choose import Choice, choose
from otter_agent.links.fake import FakeLinks
from otter_agent.links.ways import ways
from otter_agent.network import Network
from otter_agent.network.probe import addresses, tunnels_problem, udp_tunnels_problem
from otter_agent.once import Once
from otter_agent.reach import reach
from otter_agent.runtimes.base import Closes, Runtime, Versioned
from otter_agent.supervision import PATIENCE, Patience
from otter_agent.underlay import take_part
from otter_agent.users import machine_uid
from otter_agent.version import VERSION

DEFAULT_DOCKER = "unix:///var/run/docker.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the command line says.

    Attributes:
        root: Folder for all state; None: see `otter_agent.api.places`.
        docker: URL of the Docker engine; None: `DOCKER_HOST`, else the default socket.
        idle_exit_s: End this long after the last mesh is gone; None: never.
        name: The machine's name in status and plans.
        patience: The policy's times; tests have less.
        mount_roots: Folders that modules may be shown, besides those of the configuration file.
    """

    root: Path | None = None
    docker: str | None = None
    idle_exit_s: float | None = None
    name: str = "local"
    patience: Patience = PATIENCE
    mount_roots: tuple[Path, ...] = ()

    @property
    def docker_url(self) -> str:
        """The engine to use."""
        return self.docker or os.environ.get("DOCKER_HOST") or DEFAULT_DOCKER


async def _no_limits(mesh: str, module: str, pid: int) -> None:
    """Nobody's memory is limited."""


@dataclass(slots=True)
class Machine:
    """This machine's drivers.

    Attributes:
        links: What makes links scarce.
        networks: Tells its addresses.
        reach: Tells how it reaches another machine's address for data.
        underlay: Measures the network to another machine, or answers one that does.
        knock: Tries whether datagrams get in where tunnels of other machines do, or answers.
        nvml: Tells where NVIDIA's library is, if it is.
        limiter: Holds a module that is about to begin to the memory of GPUs that it was given.
        problems: Runtime name -> why it can't be used now ("" if it can); kept by the agent.
        features: Parts of the kernel, as they were when it was opened.
    """

    ground: Ground
    config: Config
    agent_id: str
    network: Network
    cgroups: Cgroups | None
    runtimes: Mapping[str, Runtime]
    stores: Mapping[str, ImageStore]
    links: Choice = field(default_factory=Choice)
    fake_links: Choice = field(
        default_factory=lambda: Choice(driver=FakeLinks(), why="all its modules are fake")
    )
    networks: Callable[[], tuple[api.NetworkFact, ...]] = addresses
    reach: Callable[[str, str, int], api.Reach] = reach
    underlay: Callable[[api.Probing], api.Measured] = take_part
    knock: Callable[[api.Knocking], api.Knocked] = knock
    nvml: Callable[[], Path | None] = library
    problems: dict[str, str] = field(default_factory=dict)
    features: tuple[api.Feature, ...] = ()
    limiter: Callable[[str, str, int], Awaitable[None]] = _no_limits
    _leases: Leases | None = None
    _grants: Grants | None = None
    _speed: Once | None = None
    _waking: Once | None = None

    @property
    def leases(self) -> Leases:
        """What gives turns to modules that share a GPU."""
        if self._leases is None:
            self._leases = Leases(self.layout.turns)
        return self._leases

    @property
    def grants(self) -> Grants:
        """What gives modules their GPUs."""
        if self._grants is None:
            mps = Mps(self.layout.run / "mps")
            self._grants = Grants(self.layout, mps, lambda: self.settings().mps)
        return self._grants

    @property
    def layout(self) -> Layout:
        """The agent's paths."""
        return self.ground.layout

    def settings(self) -> Settings:
        """What the configuration file says now. Raises `AgentError`."""
        return read_settings(self.ground.places.config)

    def problem_of(self, runtime: str) -> str:
        """Why modules of a runtime can't run here now; "" if they can."""
        if runtime not in self.runtimes:
            lacks = {"docker": self.ground.no_engine or self.problems.get("cgroups")}
            return lacks.get(runtime) or "this agent has no such runtime"
        needed = "" if runtime == "fake" else self.problems.get("network", "")
        return needed or self.problems.get(runtime, "not probed yet")

    def links_of(self, spec: api.MeshSpec) -> Choice:
        """What makes the links of a mesh scarce: one of fake modules has no network to shape."""
        if spec.modules and all(m.runtime == "fake" for m in spec.modules):
            return self.fake_links
        return self.links.fit_for(ways(spec).values(), sharing.states(spec))

    def link_drivers(self) -> list[LinkDriver]:
        """The drivers that meshes have here, the spare one too."""
        choices = (self.links, self.links.spare)
        return [c.driver for c in choices if c is not None and c.driver is not None]

    def stand_by(self) -> None:
        """Have what carries links loaded before anybody applies, where its driver keeps that."""
        if self.links.driver is not None:
            with suppress(OtterError, OSError):  # whoever asks for a link is told
                self.links.driver.stand_by()

    def let_go(self, mesh: str) -> None:
        """Of a mesh's links, before its namespaces go."""
        for driver in self.link_drivers():
            driver.forget(mesh)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What an agent without root hasn't got of what one of root's would, a line each."""
        if not self.ground.user:
            return ()
        links = "" if self.links.driver or self.ground.lacks else self.links.why
        named = {
            "network": self.problems.get("network", ""),
            "links": links,
            "budgets": "" if self.ground.lacks else self.problems.get("cgroups", ""),
            "gateways": self.problems.get("gateways", ""),
            "docker": self.ground.no_engine,
        }
        return tuple(f"{name}: {why}" for name, why in named.items() if why)

    @property
    def udp_port(self) -> int:
        """At which links to other machines come in that the kernel doesn't carry.

        Another user's agent may be on this machine, too: each has its own.
        """
        own = 1 + machine_uid(os.geteuid()) % 1000 if self.ground.user else 0
        return api.UDP_PORT + own

    @property
    def no_budgets(self) -> str:
        """Why there are none to be had; "" where there are."""
        return self.problems.get("cgroups", "no control groups") if self.cgroups is None else ""

    @property
    def speed(self) -> Once:
        """How fast a core of it is."""
        if self._speed is None:
            self._speed = speed.of_machine(self.layout.speed)
        return self._speed

    @property
    def waking(self) -> Once:
        """What a message takes between two resting processes of it, in seconds."""
        if self._waking is None:
            self._waking = waking.of_machine(self.layout.waking)
        return self._waking

    @property
    def hardness(self) -> api.Hardness:
        """What its cores are worth, as far as is known."""
        return api.Hardness(speed=self.speed.known, cpus=self.room.cpus)

    def worth(self, asked: float | None = None) -> api.Hardness:
        """The same for who asks for cores of a speed: measured if it has to be, blocking."""
        if asked is not None:
            self.speed.value()
        return self.hardness

    @property
    def no_disks(self) -> str:
        """Why what is read from and written to disks can't be limited; "" if it can."""
        return self.no_budgets or (self.cgroups.no_disks() if self.cgroups is not None else "")

    @property
    def no_rates(self) -> str:
        """Why what modules receive and send can't be limited; "" if it can."""
        return api.lack(self.features, "htb")

    @property
    def room(self) -> Room:
        """What there is to be shared out."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Room(len(os.sched_getaffinity(0)), memory)

    def facts(self) -> api.MachineFacts:
        """Those of `info` that `status` tells, too."""
        engine = self.runtimes.get("docker") if not self.problem_of("docker") else None
        return api.MachineFacts(
            arch=platform.machine(),
            kernel=platform.release(),
            cpus=self.room.cpus,
            memory_bytes=self.room.memory_bytes,
            cgroup=self.cgroups.version if self.cgroups else "none",
            link_driver=self.links.name,
            engine=engine.version if isinstance(engine, Versioned) else "",
            features=self.features,
            devices=devices(),
            speed=self.speed.known,
        )

    def info(self, held: Iterable[Holding] = ()) -> api.Info:
        """The facts that `GET /v1/info` tells.

        Args:
            held: What meshes hold.
        """
        return api.Info(
            agent=self.agent_id,
            version=VERSION,
            api_version=api.API_VERSION,
            pid=os.getpid(),
            root=str(self.config.root or "/"),
            user=self.ground.user,
            lacks=self.lacks,
            machine=self.config.name,
            cpus=self.room.cpus,
            memory_bytes=self.room.memory_bytes,
            arch=platform.machine(),
            accelerators=accelerators(),
            kernel=platform.release(),
            python=platform.python_version(),
            cgroup=self.cgroups.version if self.cgroups else "none",
            cgroup_why=self.no_budgets,
            link_driver=self.links.name,
            link_drivers=self.links.told(),
            link_driver_why=self.links.why,
            gateways=self.problems.get("network") or self.problems.get("gateways", ""),
            networks=self.networks(),
            tunnels=self.problems.get("network") or self.problems.get("tunnels", ""),
            features=self.features,
            devices=devices(),
            congestion=congestion(),
            held=tuple(api.Held(mesh=h.mesh, cpu=h.cpu, memory_bytes=h.memory_bytes) for h in held),
            speed=self.speed.known,
            waking_s=self.waking.known,
            disks_why=self.no_disks,
            udp_tunnels=self.problems.get("network") or self.problems.get("udp tunnels", ""),
            udp_port=self.udp_port,
            gpu_facts=self.grants.facts,
            gpu_why=self.grants.why,
            runtimes=tuple(
                api.RuntimeFact(
                    name=name,
                    usable=not self.problem_of(name),
                    detail=self.problem_of(name)
                    or (runtime.version if isinstance(runtime, Versioned) else ""),
                )
                for name in sorted({*self.runtimes, "docker"})
                for runtime in (self.runtimes.get(name),)
            ),
        )


def open_machine(config: Config, ground: Ground, agent_id: str) -> Machine:
    """Open every driver; those that can't work here say so in `problems`, not by raising."""
    network = Network(agent_id, ground.layout.run)
    usable, why = (False, ground.lacks) if ground.lacks else network.usable()
    problems: dict[str, str] = {}
    if not usable:
        problems["network"] = why
    else:
        if why := network.gateways_problem():
            problems["gateways"] = why
        if why := _no_kernel_tunnels(ground.user) or tunnels_problem():
            problems["tunnels"] = why
        if why := udp_tunnels_problem():
            problems["udp tunnels"] = why
    cgroups: Cgroups | None = None
    try:
        cgroups = None if ground.no_budgets else ground.cgroups(agent_id)
    except OtterError as error:
        problems["cgroups"] = str(error)
    if ground.no_budgets:
        problems["cgroups"] = ground.no_budgets
    told = features(
        dict.fromkeys(TRIED, problems["network"]) if "network" in problems
        else {"vxlan": problems.get("tunnels", "")},
        cgroups.version if cgroups else "none",
        problems.get("cgroups", ""),
    )  # fmt: skip
    runtimes, stores = _drivers(config, ground, agent_id, cgroups)
    links = _links(ground, config) if usable else Choice(why=why)
    return Machine(
        ground=ground,
        config=config,
        agent_id=agent_id,
        network=network,
        cgroups=cgroups,
        runtimes=runtimes,
        stores=stores,
        links=links,
        problems=problems,
        features=told,
    )


def _no_kernel_tunnels(user: str) -> str:
    """A VXLAN device's socket is in the machine's own network, which is root's."""
    return f"{user} may make no VXLAN device in the machine's network" if user else ""


def _links(ground: Ground, config: Config) -> Choice:
    try:
        wanted = read_settings(ground.places.config).link_driver
    except AgentError as error:
        return Choice(why=str(error))
    return choose(ground.layout, wanted, stays=config.idle_exit_s is None)


def _drivers(
    config: Config, ground: Ground, agent_id: str, cgroups: Cgroups | None
) -> tuple[dict[str, Runtime], dict[str, ImageStore]]:
    from otter_agent.cgroups.ungrouped import Ungrouped
    from otter_agent.images.docker import DockerImages
    from otter_agent.images.environments import EnvironmentStore
    from otter_agent.images.fake import FakeImages
    from otter_agent.images.wheelhouse import Wheelhouse
    from otter_agent.runtimes.docker import DockerRuntime
    from otter_agent.runtimes.fake import FakeRuntime
    from otter_agent.runtimes.process import ProcessRuntime

    layout = ground.layout
    wheelhouse = Wheelhouse(layout.wheels)
    runtimes: dict[str, Runtime] = {"fake": FakeRuntime()}
    stores: dict[str, ImageStore] = {"fake": FakeImages()}
    if cgroups is not None and not ground.no_engine:
        runtimes["docker"] = DockerRuntime(config.docker_url, agent_id, layout, cgroups)
        stores["docker"] = DockerImages(config.docker_url, layout, wheelhouse, agent_id)
    runtimes["process"] = ProcessRuntime(layout, agent_id, cgroups or Ungrouped(layout))
    stores["process"] = EnvironmentStore(layout, wheelhouse)
    return runtimes, stores


def facts(config: Config) -> bytes:
    """`api.Info` as JSON, of a machine where no agent needs to run. Leaves nothing behind."""
    import asyncio

    async def probe(machine: Machine) -> None:
        for name, runtime in machine.runtimes.items():
            try:
                await runtime.list()
                machine.problems.setdefault(name, "")
            except OtterError as error:
                machine.problems[name] = str(error)
            if isinstance(runtime, Closes):
                await runtime.aclose()

    machine = open_machine(config, visit(config.root), "probe0")
    machine.grants.take(once(machine.nvml), {})
    asyncio.run(probe(machine))
    return api.encode(machine.info())
