"""The router namespaces of one mesh: what they hold, and operations carried out in them.

Everything here moves the calling thread from namespace to namespace: run it in a thread of its
own (`namespaces.in_own_thread`). A visit (open, setns, socket) costs 10 µs, so no descriptor is
kept from one step to the next, and a mesh of a thousand hosts needs no more of them than one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence

from otter_agent.errors import NetworkError
from otter_agent.links.tun import device as tun
from otter_agent.network import messages, names, namespaces
from otter_agent.network.netlink import Netlink
from otter_agent.network.operations import (
    AddPair,
    AddTun,
    AddTunnel,
    BringUp,
    DeleteDevice,
    Op,
    RenameDevice,
)
from otter_agent.network.state import Seen

_BY_THEMSELVES = (DeleteDevice, RenameDevice, AddTun, AddTunnel, AddPair)
_GONE = frozenset({errno.ENODEV})
"""The answer for a device whose other end has just been deleted, or was in a dying namespace."""


def observe(netlink: Netlink, target: str, *, tunnel: bool = False) -> Seen:
    """Devices, addresses and our routes of the namespace that the socket is in.

    Args:
        netlink: There.
        target: What it is, for errors.
        tunnel: Whether one ends there.
    """
    seen = Seen()
    for body in netlink.dump(*messages.get_links(), target):
        device = messages.parse_link(body)
        seen.devices[device.name] = device
    for body in netlink.dump(*messages.get_addresses(), target):
        address = messages.parse_address(body)
        if address:
            seen.addresses.add(address)
    for body in netlink.dump(*messages.get_routes(), target):
        route = messages.parse_route(body)
        if route:
            seen.routes[route[0]] = route[1]
    for body in netlink.dump(*messages.get_routes(messages.INWARD_TABLE), target) if tunnel else ():
        route = messages.parse_route(body, messages.INWARD_TABLE)
        if route:
            seen.inward = route[1][1]
    return seen


def carry_out(netlink: Netlink, ops: Sequence[Op], target: str) -> None:
    """Do all but `AddPair`, the plain ones in one batch; deletions and renamings come first."""
    deletions = [messages.encode(op) for op in ops if isinstance(op, DeleteDevice)]
    netlink.send(deletions, target, tolerate=_GONE)
    for op in ops:
        if isinstance(op, RenameDevice):
            _rename(netlink, op, target)
        elif isinstance(op, AddTun):
            tun.make(op.device, op.index)
    others = [messages.encode(op) for op in ops if not isinstance(op, _BY_THEMSELVES)]
    netlink.send(others, target)


def _rename(netlink: Netlink, op: RenameDevice, target: str) -> None:
    try:
        netlink.send([messages.encode(op)], target, tolerate=_GONE)
    except NetworkError as error:
        if error.errno != errno.EBUSY:
            raise
        deletion = DeleteDevice(op.index, op.device)
        netlink.send([messages.encode(deletion)], target, tolerate=_GONE)


class Routers:
    """The namespaces of one mesh.

    Args:
        mesh: Name of the mesh, for errors.
        where: Host -> name of its namespace.
        count: Told how many things were changed.
    """

    def __init__(self, mesh: str, where: Mapping[str, str], count: Callable[[int], None]) -> None:
        self._mesh = mesh
        self._where = where
        self._count = count

    def observe(self) -> dict[str, Seen]:
        """What is in those namespaces that exist."""
        found: dict[str, Seen] = {}
        for host, name in self._where.items():
            if namespaces.exists(name):
                with self._visit(host) as netlink:
                    tunnel = names.is_beyond(host)
                    found[host] = observe(netlink, self._target(host), tunnel=tunnel)
        return found

    def create(self, hosts: Iterable[str]) -> None:
        """Make namespaces, each with its name last."""
        for host in hosts:
            tunnel = names.is_beyond(host)
            namespaces.create_router(
                self._where[host],
                silent=tunnel or names.is_outside(host) or names.is_aside(host),
                last=self._lead_inward if tunnel else None,
            )
            self._count(1)

    def carry_out(self, step: Mapping[str, Sequence[Op]]) -> None:
        """Do one step of a plan: host after host, each in its namespace."""
        for host, ops in step.items():
            if not ops:
                continue
            with self._visit(host) as netlink:
                carry_out(netlink, ops, self._target(host))
                for op in ops:
                    if isinstance(op, AddPair):
                        self._add_pair(netlink, op, host)
                    elif isinstance(op, AddTunnel):
                        self._add_tunnel(netlink, op, host)
            self._count(len(ops))

    def note_carriers(self, *steps: Mapping[str, Sequence[Op]]) -> None:
        """After steps that made devices and set them up: what is sent over them now passes."""
        devices: dict[str, set[str]] = {}
        for host, ops in (one for step in steps for one in step.items()):
            fresh = {op.device for op in ops if isinstance(op, BringUp | AddPair)}
            devices[host] = devices.get(host, set()) | fresh
        for host in filter(devices.get, devices):
            with self._visit(host) as netlink:
                for name in devices[host]:
                    netlink.note_carrier(name)

    def _add_pair(self, netlink: Netlink, pair: AddPair, host: str) -> None:
        try:
            with namespaces.opened(self._where[pair.peer_host]) as descriptor:
                netlink.send([messages.encode(pair, descriptor)], self._target(host))
        except OSError as exc:
            raise namespaces.failed(str(pair), self._target(host), exc) from exc

    def _add_tunnel(self, netlink: Netlink, tunnel: AddTunnel, host: str) -> None:
        """Its socket is to be in the machine's namespace, so the kernel is asked from there."""
        target = self._target(host)
        try:
            with namespaces.opened(self._where[host]) as descriptor:
                namespaces.join_machine()
                with Netlink() as outside:
                    outside.send([messages.encode(tunnel, descriptor)], target)
                namespaces.join(descriptor)
        except OSError as exc:
            raise namespaces.failed(str(tunnel), target, exc) from exc
        # Up comes last: one that is up is whole, whenever this process is killed.
        up = messages.encode(BringUp(tunnel.index, tunnel.device))
        netlink.send([messages.name_hop(tunnel), up], target)

    @staticmethod
    def _lead_inward() -> None:
        with Netlink() as netlink:
            netlink.send([messages.inward_rule(names.TUNNEL_DEVICE)], names.TUNNEL_DEVICE)

    def _visit(self, host: str) -> Netlink:
        try:
            namespaces.enter(self._where[host])
            return Netlink()
        except OSError as exc:
            raise namespaces.failed("enter its namespace", self._target(host), exc) from exc

    def _target(self, host: str) -> str:
        return f"{self._mesh}/{host}"
