"""Operations in a namespace: values with a readable `str`. Pure.

messages.py turns each into a netlink message, but for `AddTun`; plan.py says which are needed.
"""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = 1
"""The index of `lo` in every namespace (LOOPBACK_IFINDEX, linux/net.h)."""

Cidr = tuple[bytes, int]
"""An IPv4 network: four bytes and the prefix length."""


@dataclass(frozen=True, slots=True)
class BringUp:
    """Set a device up."""

    index: int
    device: str

    def __str__(self) -> str:
        return f"set device {self.device} up"


@dataclass(frozen=True, slots=True)
class DeleteDevice:
    """Delete a device (and with it the other end of its pair)."""

    index: int
    device: str

    def __str__(self) -> str:
        return f"delete device {self.device}"


@dataclass(frozen=True, slots=True)
class RenameDevice:
    """Call a device otherwise, without setting it down: its routes stay.

    Where the kernel can't (before 6.2), the device goes at once, with its routes.
    """

    index: int
    device: str
    name: str

    def __str__(self) -> str:
        return f"rename device {self.device} to {self.name}"


@dataclass(frozen=True, slots=True)
class SetMtu:
    """Say how large a device's packets may be."""

    index: int
    device: str
    mtu: int

    def __str__(self) -> str:
        return f"set the MTU of device {self.device}"


@dataclass(frozen=True, slots=True)
class AddTunnel:
    """Make a VXLAN device here, and set it up, whose UDP socket is in the machine's own namespace.

    It sends to one machine only. What comes in for another hardware address than its own, which
    nobody else knows, is dropped by the kernel as somebody else's: so nothing gets in unasked.
    """

    device: str
    index: int
    mac: bytes
    peer_mac: bytes
    vni: int
    port: int
    local: bytes
    remote: bytes
    hop: bytes
    """The address behind which all of the other side is."""
    mtu: int

    def __str__(self) -> str:
        return f"add device {self.device} (vxlan {self.vni} to {dotted(self.remote)}:{self.port})"


@dataclass(frozen=True, slots=True)
class AddTun:
    """Make one end of a link in user space: a TUN device that stays, still down."""

    device: str
    index: int

    def __str__(self) -> str:
        return f"add device {self.device} (tun)"


@dataclass(frozen=True, slots=True)
class AddPair:
    """Make a veth pair, one end here and up, one in the namespace `peer_host`, still down.

    Both ends get the same hardware address and do no ARP: such a pair carries IP packets only, at
    once and in both directions. Were there ARP, the first packet over a link of 20 ms would take
    60 ms, and a lost ARP packet would cost a second: the emulated network would show a property
    that nobody asked for.
    """

    device: str
    index: int
    """0: the kernel chooses."""
    mac: bytes
    peer_host: str
    peer_device: str
    peer_index: int
    mtu: int = 1500

    def __str__(self) -> str:
        return f"add device {self.device} (pair with {self.peer_host}:{self.peer_device})"


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give a device an IPv4 address."""

    address: bytes
    index: int = LOOPBACK

    def __str__(self) -> str:
        return f"add address {dotted(self.address)}"


@dataclass(frozen=True, slots=True)
class DeleteAddress:
    """Take an IPv4 address away."""

    address: bytes
    prefix: int
    index: int = LOOPBACK

    def __str__(self) -> str:
        return f"delete address {dotted(self.address)}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class PutRoute:
    """Add a route, or replace the one to the same destination."""

    to: Cidr
    via: bytes | None
    """The on-link neighbour; None: the destination itself is on the link."""
    index: int
    """Of the device; `lo`: the destinations are this namespace's own, all of them."""
    device: str
    inward: bool = False
    """In the table of what comes out of a tunnel, not in the main one."""

    def __str__(self) -> str:
        via = f" via {dotted(self.via)}" if self.via else ""
        return f"add route {dotted(self.to[0])}/{self.to[1]}{via} dev {self.device}"


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    """Delete the route of ours to a destination."""

    to: Cidr

    def __str__(self) -> str:
        return f"delete route {dotted(self.to[0])}/{self.to[1]}"


Op = (
    BringUp
    | RenameDevice
    | DeleteDevice
    | SetMtu
    | AddTun
    | AddTunnel
    | AddPair
    | AddAddress
    | DeleteAddress
    | PutRoute
    | DeleteRoute
)


def dotted(packed: bytes) -> str:
    """An IPv4 address for people."""
    return ".".join(map(str, packed))
