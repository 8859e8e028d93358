"""A module's plug: the pair of devices between its own namespace and its host's router.

    router namespace                     module's namespace
    m.NAME ═════════════════════════════ eth0  address/32
    route address/32 dev m.NAME          default via the host's address dev eth0 onlink

The hardware address names mesh, module and the module's namespace, so a plug into the namespace
of an earlier instance is told from the right one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from otter_agent.api import MTU_BYTES
from otter_agent.errors import NetworkError
from otter_agent.network import messages, names, namespaces
from otter_agent.network.netlink import Netlink
from otter_agent.network.operations import (
    LOOPBACK,
    AddAddress,
    AddPair,
    BringUp,
    DeleteAddress,
    DeleteDevice,
    Op,
    PutRoute,
    SetMtu,
)
from otter_agent.network.routers import carry_out, observe
from otter_agent.network.state import Device, Seen

INSIDE = "eth0"
_DEFAULT = (b"\0\0\0\0", 0)


@dataclass(frozen=True, slots=True)
class Plug:
    """One module's plug as it shall be.

    Attributes:
        router: Name of the host's namespace.
        gateway: The host's address.
        pid: A process in the module's namespace.
        target: `mesh/module`, for errors.
    """

    router: str
    gateway: bytes
    module: str
    address: bytes
    pid: int
    target: str
    mtu: int = MTU_BYTES

    @property
    def device(self) -> str:
        """The router's end."""
        return names.plug_device(self.module)

    def make(self) -> int:
        """Make it so; returns how many changes that took.

        Runs in a thread of its own (`namespaces.in_own_thread`), from the machine's namespace.
        """
        own = namespaces.open_own()
        module = self._open_module(own)
        try:
            mac = names.hardware_address(self.target, str(namespaces.inode(module)))
            with self._router() as outside:
                namespaces.join(module)
                with Netlink() as inside:
                    return self._make(outside, inside, module, mac)
        except OSError as exc:
            raise namespaces.failed("plug the network in", self.target, exc) from exc
        finally:
            os.close(module)
            os.close(own)

    def _open_module(self, own: int) -> int:
        """The module's namespace; refuses the machine's, in which nothing may ever be made."""
        try:
            descriptor = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise namespaces.failed(f"find process {self.pid}", self.target, exc) from exc
        if namespaces.inode(descriptor) == namespaces.inode(own):
            os.close(descriptor)
            why = f"process {self.pid} is in the machine's own network namespace"
            raise NetworkError("network", "plug the network in", self.target, why)
        return descriptor

    def _router(self) -> Netlink:
        try:
            namespaces.enter(self.router)
        except OSError as exc:
            raise namespaces.failed(f"enter the namespace {self.router}", self.target, exc) from exc
        return Netlink()

    def _make(self, outside: Netlink, inside: Netlink, module: int, mac: bytes) -> int:
        there, here = observe(outside, self.target), observe(inside, self.target)
        changes = 0
        if not self._joined(there, here, mac):
            changes += self._replace(outside, inside, module, mac)
            there, here = observe(outside, self.target), observe(inside, self.target)
            if not self._joined(there, here, mac):
                why = "its devices went away again"
                raise NetworkError("network", "plug the network in", self.target, why)
        ops_in, ops_out = self._inside(here), self._outside(there)
        carry_out(inside, ops_in, self.target)
        carry_out(outside, ops_out, self.target)
        inside.note_carrier(INSIDE)
        outside.note_carrier(self.device)
        return changes + len(ops_in) + len(ops_out)

    def _joined(self, there: Seen, here: Seen, mac: bytes) -> bool:
        """Whether the two ends are there, and are each other's."""
        out, eth = there.devices.get(self.device), here.devices.get(INSIDE)
        return (
            out is not None
            and eth is not None
            and out.mac == eth.mac == mac
            and (out.peer, eth.peer) == (eth.index, out.index)
        )

    def _replace(self, outside: Netlink, inside: Netlink, module: int, mac: bytes) -> int:
        changes = 0
        for netlink, name in ((outside, self.device), (inside, INSIDE)):
            stale = observe(netlink, self.target).devices.get(name)
            if stale is not None and stale.kind == "veth":
                carry_out(netlink, [DeleteDevice(stale.index, name)], self.target)
                changes += 1
        with suppress(FileNotFoundError):  # no IPv6 in this kernel; the thread is in the module's
            namespaces.set_sysctl("ipv6/conf/default/disable_ipv6", b"1")
        pair = AddPair(self.device, 0, mac, self.target, INSIDE, 0, self.mtu)
        outside.send([messages.encode(pair, module)], self.target)
        return changes + 1

    def _inside(self, here: Seen) -> Sequence[Op]:
        eth, ops = here.devices[INSIDE], list[Op]()
        ops += [BringUp(d.index, d.name) for d in (here.devices["lo"], eth) if not d.up]
        ops += self._resized(eth)
        if (eth.index, self.address, 32) not in here.addresses:
            ops.append(AddAddress(self.address, eth.index))
        if here.routes.get(_DEFAULT) != (self.gateway, eth.index):
            ops.append(PutRoute(_DEFAULT, self.gateway, eth.index, INSIDE))
        ops += [
            DeleteAddress(old, prefix, index)
            for index, old, prefix in sorted(here.addresses)
            if index == eth.index and index != LOOPBACK and (old, prefix) != (self.address, 32)
        ]
        return ops

    def _resized(self, device: Device) -> list[Op]:
        wrong = device.mtu != self.mtu
        return [SetMtu(device.index, device.name, self.mtu)] if wrong else []

    def _outside(self, there: Seen) -> Sequence[Op]:
        device, ops = there.devices[self.device], list[Op]()
        if not device.up:
            ops.append(BringUp(device.index, device.name))
        ops += self._resized(device)
        if there.routes.get((self.address, 32)) != (None, device.index):
            ops.append(PutRoute((self.address, 32), None, device.index, device.name))
        return ops


def unplug(router: str, module: str, target: str) -> int:
    """Delete a module's plug, if it is there; returns how many changes that took.

    Runs in a thread of its own (`namespaces.in_own_thread`).
    """
    try:
        namespaces.enter(router)
    except OSError as exc:
        if exc.errno in (errno.ENOENT, errno.EINVAL):
            return 0  # the router has gone, and the plug with it
        raise namespaces.failed("unplug", target, exc) from exc
    name = names.plug_device(module)
    with Netlink() as netlink:
        device = observe(netlink, target).devices.get(name)
        if device is None:
            return 0
        carry_out(netlink, [DeleteDevice(device.index, name)], target)
    return 1
