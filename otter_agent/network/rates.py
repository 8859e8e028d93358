"""Rates of what modules send and receive, and all modules of a host together.

    module's namespace          router namespace
    eth0  ─ HTB: its out ════ m.NAME ┬ HTB: its in
                                     ├ comes in ─► h.out (ifb, HTB: the host's out) ─► on its way
                                     └ is sent  ─► h.in  (ifb, HTB: the host's in)  ─► on its way

At the plugs, so it is the same whatever makes links scarce. A module can't undo it: it has no
CAP_NET_ADMIN in its namespace. Must not know: who asks, links.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from otter_agent.api import Budget, ModuleSpec
from otter_agent.errors import NetworkError
from otter_agent.links.netem import filters, tc
from otter_agent.links.netem.options import ByteQueue, Htb, Share
from otter_agent.network import names, namespaces
from otter_agent.network.messages import Request
from otter_agent.network.netlink import Netlink, refused
from otter_agent.network.plugs import INSIDE

HOST_IN, HOST_OUT = "h.in", "h.out"
QUEUE_S = 0.05
LEAST_QUEUE_BYTES = 1 << 17
"""Two of the largest pieces that TCP hands over at once."""
_HANDLE, _CLASS, _LEAF = 0x4F540000, 0x4F540001, 0x4F550000
_GONE = frozenset({errno.ENOENT, errno.EINVAL, errno.ENODEV})
_TC_CLSACT = 0xFFFF0000
_PURPOSE = "limit what is sent"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rates:
    """Bits a second of IP packets, as the module or the host sees them; None: no limit."""

    in_bps: float | None = None
    out_bps: float | None = None

    def __bool__(self) -> bool:
        return self.in_bps is not None or self.out_bps is not None


def of(budget: Budget) -> Rates:
    """Those of a budget."""
    return Rates(budget.in_bps, budget.out_bps)


def plugged(agent_id: str, mesh: str, module: ModuleSpec, pid: int) -> Plugged:
    """A module that process `pid` is of."""
    router = names.namespace(agent_id, mesh, module.host)
    return Plugged(router, module.name, pid, f"{mesh}/{module.name}")


@dataclass(frozen=True, slots=True)
class Plugged:
    """Where a module's plug is.

    Attributes:
        router: Name of its host's namespace.
        pid: A process in the module's namespace.
        target: `mesh/module`, for errors.
    """

    router: str
    module: str
    pid: int
    target: str

    def limit(self, own: Rates, host: Rates) -> None:
        """Make it so, whatever it was before.

        Raises:
            NetworkError: The process or the router is gone, or the kernel refused.
        """

        def outside() -> None:
            with Netlink() as netlink:
                index = netlink.index_of(names.plug_device(self.module))
                _root(netlink, index, own.in_bps, self.target)
                _detours(netlink, index, host, self.target)

        def inside() -> None:
            with Netlink() as netlink:
                _root(netlink, netlink.index_of(INSIDE), own.out_bps, self.target)

        self._in_router(outside)
        self._in_module(inside)

    def read(self) -> Rates:
        """What is in force. Raises as `limit`."""

        def rate(device: str) -> Callable[[], float | None]:
            return lambda: _read(device)

        plug = rate(names.plug_device(self.module))
        return Rates(self._in_router(plug), self._in_module(rate(INSIDE)))

    def _in_router(self, work: Callable[[], T]) -> T:
        def enter() -> T:
            namespaces.enter(self.router)
            return work()

        return self._thread(enter)

    def _in_module(self, work: Callable[[], T]) -> T:
        def enter() -> T:
            own = namespaces.open_own()
            module = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if namespaces.inode(own) == namespaces.inode(module):
                    why = f"process {self.pid} is in the machine's own network namespace"
                    raise NetworkError("network", _PURPOSE, self.target, why)
                namespaces.join(module)
            finally:
                os.close(module)
                os.close(own)
            return work()

        return self._thread(enter)

    def _thread(self, work: Callable[[], T]) -> T:
        try:
            return namespaces.in_own_thread(work)
        except OSError as exc:
            raise namespaces.failed(_PURPOSE, self.target, exc) from exc


def read_host(router: str, target: str) -> Rates:
    """What is in force for all modules of a host together. Raises `NetworkError`."""

    def work() -> Rates:
        namespaces.enter(router)
        return Rates(_read(HOST_IN), _read(HOST_OUT))

    try:
        return namespaces.in_own_thread(work)
    except OSError as exc:
        raise namespaces.failed(_PURPOSE, target, exc) from exc


def _read(device: str) -> float | None:
    with Netlink() as netlink:
        index = netlink.index_of(device)
        if not index:
            return None
        kind, body = tc.get_classes(index)
        for answer in netlink.dump(kind, body, device):
            seen = tc.parse(tc.RTM_NEWTCLASS, answer)
            if seen.handle == _CLASS and seen.index == index:
                return 8.0 * Share.decode(seen.options).rate
    return None


def _root(netlink: Netlink, index: int, bps: float | None, target: str) -> None:
    """All that a device sends, at a rate."""
    if bps is None:
        _send(netlink, [tc.drop_qdisc(index, _HANDLE, tc.ROOT, _PURPOSE)], target, _GONE)
        return
    rate = max(1, round(bps / 8))
    queue = ByteQueue(limit=max(LEAST_QUEUE_BYTES, round(rate * QUEUE_S)))
    new = tc.put_qdisc(index, _HANDLE, tc.ROOT, Htb(), _PURPOSE, new=True)
    (answer,) = netlink.exchange([new])
    if answer.code not in (0, errno.EEXIST):
        raise refused(new, answer, target)
    # What is there already is changed in its place by these: nothing that waits is lost.
    _send(netlink, [
        tc.put_class(index, _CLASS, Share(rate=rate), _PURPOSE, new=True),
        tc.put_qdisc(index, _LEAF, _CLASS, queue, _PURPOSE, new=True),
    ], target)  # fmt: skip


def _detours(netlink: Netlink, plug: int, host: Rates, target: str) -> None:
    """Send what passes a plug through the host's devices, or on its straight way."""
    drop = tc.drop_qdisc(plug, _TC_CLSACT, tc.INGRESS, _PURPOSE)
    _send(netlink, [drop], target, _GONE)
    asked: list[Request] = [tc.put_ingress(plug, _PURPOSE)]
    for device, bps, parent in (
        (HOST_IN, host.in_bps, filters.OUT), (HOST_OUT, host.out_bps, filters.IN),
    ):  # fmt: skip
        if bps is None:
            if index := netlink.index_of(device):
                _root(netlink, index, None, target)
            continue
        _send(netlink, [tc.add_detour_device(device, _PURPOSE)], target, frozenset({errno.EEXIST}))
        index = netlink.index_of(device)
        _root(netlink, index, bps, target)
        where = filters.Where(index=plug, parent=parent, priority=filters.ALL, handle=1)
        asked.append(filters.put_plain(where, index, _PURPOSE))
    if host:
        _send(netlink, asked, target)


def _send(
    netlink: Netlink, asked: Iterable[Request], target: str,
    tolerate: frozenset[int] = frozenset(),
) -> None:  # fmt: skip
    asked = list(asked)
    for request, answer in zip(asked, netlink.exchange(asked), strict=True):
        if answer.code and answer.code not in tolerate:
            raise refused(request, answer, target)
