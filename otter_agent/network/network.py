"""`Network`: what the agent asks for; namespaces, links and routes of its meshes follow.

All methods are synchronous, thread-safe and level-triggered: each looks at what is there and
changes what differs, whatever state a killed predecessor left.
"""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.network import names, namespaces, plugs, probe, teardown
from otter_agent.network.outside import probe as outside_probe
from otter_agent.network.outside.client import Relays
from otter_agent.network.outside.config import config_of
from otter_agent.network.plan import Plan, plan, routes_alone
from otter_agent.network.routers import Routers
from otter_agent.network.scarcity import Scarcity
from otter_agent.network.state import Desired, address, carried, desired
from otter_agent.tunnels.client import Tunnels


class Network:
    """The network of one agent's meshes on this machine.

    Args:
        agent_id: Part of every name that is made.
        run: The agent's folder for sockets; None: no mesh has gateways or published ports.

    Attributes:
        changes: How many things were changed so far: namespaces, devices, addresses, routes.
    """

    def __init__(self, agent_id: str, run: Path | None = None) -> None:
        self.changes = 0
        self._relays = Relays(run / "outside") if run is not None else None
        self._tunnels = Tunnels(agent_id, run / "tunnels") if run is not None else None
        self._agent_id = agent_id
        self._prefix = names.agent_prefix(agent_id)
        self._guard = threading.Lock()
        self._users: defaultdict[str, list[Callable[[], object]]] = defaultdict(list)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @staticmethod
    def usable() -> tuple[bool, str]:
        """Whether this process may do all this; else why not. Changes nothing."""
        return probe.usable()

    @staticmethod
    def gateways_problem() -> str:
        """Why meshes can have no gateways here; empty if they can. Changes nothing."""
        return outside_probe.problem()

    def converge(self, spec: api.MeshSpec, scarcity: Scarcity | None = None) -> None:
        """Make hosts, links, addresses and routes of a mesh what `spec` says.

        What is wanted no more of gateways and published ports is closed; `open_outside` opens.
        Links are made scarce by `scarcity` before a route leads over them; None: they aren't.

        Plugs of modules are left alone, unless their host's namespace had to be made anew: plug
        (idempotent) every running module after this.

        Raises:
            NetworkError: What failed, where and why; what was done stays, the next call goes on.
        """
        want = desired(self._agent_id, spec)
        where = {h: names.namespace(self._agent_id, spec.name, h) for h in want.routers}
        outside = config_of(self._agent_id, spec)
        with self._lock(spec.name):
            present = set(namespaces.names(names.mesh_prefix(self._agent_id, spec.name)))
            gone = present - set(where.values())
            if self._relays is not None and not outside:
                self._relays.end(spec.name)
            elif self._relays is not None and gone:  # it has to let go of what is to be dropped
                self._relays.apply(outside.within(present - gone))
            self._announce(gone)
            if scarcity is not None:
                want = desired(self._agent_id, spec, scarcity.kinds())
                scarcity.let_go(shaped_only=False)
            work = _Convergence(Routers(spec.name, where, self._count), want)
            over_udp = carried(spec)
            if self._tunnels is not None:  # it has namespaces open that may be about to go
                self._tunnels.keep(spec.name, over_udp)
            namespaces.in_own_thread(lambda: self._prepare(spec.name, work, gone))
            self._carry(spec.name, over_udp)
            if scarcity is not None:
                scarcity.devices_are_there()
            namespaces.in_own_thread(work.route)
            if scarcity is not None:
                scarcity.let_go(shaped_only=True)
            namespaces.in_own_thread(work.retire)

    def _carry(self, mesh: str, links: Sequence[api.Link]) -> None:
        """Have links to other machines carried that the kernel doesn't carry itself."""
        if self._tunnels is not None:
            self._tunnels.apply(mesh, links)
        elif links:
            why = "this agent has no folder for what carries tunnels"
            raise NetworkError("tunnels", "carry", mesh, why)

    def tunnels(self, spec: api.MeshSpec) -> Mapping[str, api.TunnelState]:
        """How those links to other machines are that a process carries, by their names."""
        if self._tunnels is None or not any(map(_is_carried, spec.links)):
            return {}
        return self._tunnels.states(spec.name)

    def reroute(self, spec: api.MeshSpec, hosts: Collection[str]) -> None:
        """Make the routes of some hosts, whose devices are there, what `spec` says.

        Raises:
            NetworkError: What failed, where and why.
        """
        want = desired(self._agent_id, spec)
        where = {
            h: names.namespace(self._agent_id, spec.name, h) for h in want.routers if h in hosts
        }

        def work() -> None:
            routers = Routers(spec.name, where, self._count)
            routers.carry_out(routes_alone(want, routers.observe()))

        with self._lock(spec.name):
            namespaces.in_own_thread(work)

    def open_outside(self, spec: api.MeshSpec) -> None:
        """Open the gateways and published ports of a mesh whose namespaces are there, no others.

        Raises:
            NetworkError: Some can't be had: a port is taken, and by whom; the others are open.
        """
        outside = config_of(self._agent_id, spec)
        if self._relays is not None:
            with self._lock(spec.name):
                self._relays.apply(outside)
        elif outside:
            why = "this agent has no folder for relays"
            raise NetworkError("network", "reach the outside", spec.name, why)

    def plug(
        self,
        mesh: str,
        host: api.HostSpec,
        module: str,
        address: str,
        pid: int,
        mtu: int = api.MTU_BYTES,
    ) -> None:
        """Join the network namespace of process `pid` to its host's router, as `eth0`.

        Idempotent; a plug of this module into another namespace is replaced.

        Raises:
            NetworkError: The process or the router's namespace is gone, or the kernel refused.
        """
        plug = self._plug(mesh, host, module, address, pid, mtu)
        with self._lock(mesh):
            self._count(namespaces.in_own_thread(plug.make))

    def unplug(self, mesh: str, host_name: str, module: str) -> None:
        """Remove a module's plug; without effect if there is none."""
        router = names.namespace(self._agent_id, mesh, host_name)
        target = f"{mesh}/{module}"
        with self._lock(mesh):
            self._count(namespaces.in_own_thread(lambda: plugs.unplug(router, module, target)))

    def remove(self, mesh: str) -> None:
        """Remove all namespaces of a mesh; returns when none of their devices exists any more.

        Raises:
            NetworkError: A process that isn't ours still runs in one of them.
        """
        with self._lock(mesh):
            if self._relays is not None:
                self._relays.end(mesh)  # its sockets would keep namespaces alive
            if self._tunnels is not None:  # as its devices would
                self._tunnels.forget(mesh)
            gone = namespaces.names(names.mesh_prefix(self._agent_id, mesh))
            self._announce(gone)
            self._drop(gone, mesh)

    def remove_others(self, meshes: set[str]) -> None:
        """Remove what a killed predecessor left of all meshes but these.

        Raises:
            NetworkError: As `remove`.
        """
        for mesh in self.meshes() - meshes:
            self.remove(mesh)
        if self._relays is not None:
            self._relays.end_others(meshes)
        if self._tunnels is not None:
            self._tunnels.forget_others(meshes)

    def lost(self) -> list[str]:
        """Meshes whose way to the outside has gone by itself: converge them again."""
        return self._relays.lost() if self._relays is not None else []

    def lost_tunnels(self) -> list[str]:
        """The same, of links to other machines."""
        return self._tunnels.lost() if self._tunnels is not None else []

    def meshes(self) -> set[str]:
        """Meshes that have namespaces, whole or half-made."""
        found = (name.removeprefix(self._prefix) for name in namespaces.names(self._prefix))
        return {name.split(names.SEPARATOR)[0] for name in found}

    def connects(
        self, mesh: str, host_name: str, address: str, port: int, timeout_s: float
    ) -> bool:
        """Whether something accepts TCP connections at `address`, seen from a host's router."""
        return not self.refusal(mesh, host_name, address, port, timeout_s)

    def refusal(self, mesh: str, host_name: str, address: str, port: int, timeout_s: float) -> str:
        """Why nothing accepts TCP connections at `address`, a few words; "" if something does."""
        try:
            with self.open_socket(mesh, host_name, socket.SOCK_STREAM) as probe_socket:
                # A closed connection whose other end is gone must not hold the namespace for long.
                probe_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3000)
                probe_socket.settimeout(timeout_s)
                probe_socket.connect((address, port))
        except TimeoutError:
            return "no answer"
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return ""

    def open_socket(self, mesh: str, host_name: str, kind: socket.SocketKind) -> socket.socket:
        """A socket of a host: what it sends enters the mesh at that host's router.

        While it is open the host's namespace can't go: see `on_removal`.

        Raises:
            OSError: There is no such host, or no descriptor left.
        """
        router = names.namespace(self._agent_id, mesh, host_name)

        def open_() -> socket.socket:
            namespaces.enter(router)
            return socket.socket(socket.AF_INET, kind)

        return namespaces.in_own_thread(open_)

    @contextmanager
    def on_removal(self, mesh: str, host_name: str, let_go: Callable[[], object]) -> Iterator[None]:
        """Call `let_go`, from another thread, if a host is to go within the block."""
        router = names.namespace(self._agent_id, mesh, host_name)
        with self._guard:
            self._users[router].append(let_go)
        try:
            yield
        finally:
            with self._guard:
                self._users[router].remove(let_go)
                if not self._users[router]:
                    del self._users[router]

    def _announce(self, gone: Iterable[str]) -> None:
        with self._guard:
            users = [let_go for router in gone for let_go in self._users.get(router, ())]
        for let_go in users:
            let_go()

    # --- how --------------------------------------------------------------------------------------

    def _lock(self, mesh: str) -> threading.Lock:
        with self._guard:
            return self._locks[mesh]

    def _count(self, changes: int) -> None:
        with self._guard:
            self.changes += changes

    def _plug(
        self, mesh: str, host: api.HostSpec, module: str, text: str, pid: int, mtu: int
    ) -> plugs.Plug:
        target = f"{mesh}/{module}"
        router = names.namespace(self._agent_id, mesh, host.name)
        gateway = address(host.address, f"{mesh}/{host.name}")
        return plugs.Plug(router, gateway, module, address(text, target), pid, target, mtu)

    def _drop(self, gone: list[str], mesh: str) -> None:
        if gone:
            namespaces.in_own_thread(lambda: teardown.destroy(gone, mesh, lambda: self._count(1)))

    def _prepare(self, mesh: str, work: _Convergence, gone: Collection[str]) -> None:
        namespaces.prepare_directory()
        work.remove()
        self._drop(sorted(gone), mesh)
        work.set_up()


def _is_carried(link: api.Link) -> bool:
    """Whether it leads to another machine, and not by the kernel."""
    return link.tunnel is not None and link.tunnel.kind == "udp"


class _Convergence:
    """One way from what is to what shall be, in stages; each enters every namespace in turn.

    Call each in a thread of its own.
    """

    def __init__(self, routers: Routers, want: Desired) -> None:
        self._routers = routers
        self._want = want
        self._steps = Plan()

    def remove(self) -> None:
        """Look what is there, and remove what is wanted no more."""
        self._steps = plan(self._want, self._routers.observe())
        self._routers.carry_out(self._steps.remove)

    def set_up(self) -> None:
        """Namespaces and devices."""
        self._routers.create(self._steps.create)
        self._routers.carry_out(self._steps.setup)
        self._routers.carry_out(self._steps.up)
        self._routers.note_carriers(self._steps.setup, self._steps.up)

    def route(self) -> None:
        """What leads over the devices."""
        self._routers.carry_out(self._steps.route)

    def retire(self) -> None:
        """Devices whose place others have taken."""
        self._routers.carry_out(self._steps.retire)
