"""What a part of a mesh knows of the other machines, and what machines tell of each other. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from otter_agent.api.base import Data

MTU_BYTES = 1500
"""Of a mesh's devices while all of it is on one machine."""
TUNNEL_BYTES = 50
"""What VXLAN adds to a packet: Ethernet, IPv4, UDP and its own header."""
TUNNEL_PORT = 14789
"""UDP port of a machine at which packets of links between machines come in."""
UDP_PORT = 14790
"""The same, of links that a process carries where the kernel's VXLAN can't be had."""
KNOCK_S = 10.0
"""For so long a machine answers who knocks, from when it was asked to."""

TunnelKind = Literal["vxlan", "udp"]


class Underlay(Data, frozen=True):
    """What the real network between two machines does, in the direction that packets leave."""

    delay_s: float
    """One way: half of the shortest time there and back."""
    rate_bps: float | None = None
    """Of IP packets that arrived, for as long as was measured; None: it wasn't."""


class Tunnel(Data, frozen=True):
    """How a link whose other end is on another machine gets there."""

    host: str
    """The end that is elsewhere."""
    local: str
    """This machine's IPv4 address for data."""
    remote: str
    """The other machine's."""
    vni: int
    """VXLAN network identifier: no two links between two machines have the same."""
    key: str
    """Known to both machines only: what doesn't carry what follows from it, isn't let in."""
    port: int = TUNNEL_PORT
    kind: TunnelKind = "vxlan"
    """Who carries it: the kernel, or a process of the agent's over UDP."""
    why: str = ""
    """Why it is that one, for people."""
    remote_port: int = 0
    """Where the other machine listens, if not at the same port. 0: it is the same."""
    opens: bool = True
    """Whether the other machine can be reached at its address. If not (it is behind a NAT), it
    opens the flow, and what it sends tells where it is. Of `udp` only."""
    underlay: Underlay | None = None
    """As measured when the link was made; None: it wasn't."""
    less_s: float = 0.0
    """Taken off each delay of the link, as the network between the machines has it already."""


class TunnelState(Data, frozen=True):
    """How a link's way to another machine is: `links[].tunnel` in `status --json`."""

    kind: TunnelKind = "udp"
    why: str = ""
    machine: str = ""
    """To which it leads."""
    underlay: Underlay | None = None
    less_s: float = 0.0
    joined: bool | None = None
    """Of `udp`: whether the other end has answered. None: nobody can tell."""
    heard_s: float | None = None
    """How long ago it was heard of last."""
    peer: str = ""
    """Address and port from which it was."""
    sent: int = 0
    received: int = 0
    """Datagrams, as `sent`."""
    dropped: int = 0
    """Packets that found nobody at the other end, or no device at this."""
    forged: int = 0
    """Datagrams that weren't made with the link's key."""
    replayed: int = 0
    """Datagrams that had been there before."""


class Away(Data, frozen=True):
    """Another machine that carries a part of the mesh."""

    machine: str
    """Its name in the site file of who applied."""
    hosts: tuple[str, ...]
    modules: dict[str, str] = msgspec.field(default_factory=dict)
    """Module -> its host."""
    blocks: dict[str, str] = msgspec.field(default_factory=dict)
    """Host -> its CIDR, where routes here are worked out while the mesh runs."""
    gateways: tuple[str, ...] = ()
    """Those of its hosts that are."""
    talk: Tunnel | None = None
    """How the agents of the two machines talk to each other; None: they have nothing to say."""


class Directory(Data, frozen=True):
    """What all parts of a mesh on many machines say alike: an upload, sent and kept once a machine.

    In each part it would be a mesh's size times its machines.
    """

    names: dict[str, str]
    """Name of every host and module -> IPv4 address."""
    machines: tuple[Away, ...]
    """All of them, whoever asks among them."""


class NetworkFact(Data, frozen=True):
    """An address of the machine."""

    device: str
    address: str
    """IPv4."""
    prefix: int
    mtu: int


class ClockReading(Data, frozen=True):
    """What the clocks of a machine said at one moment."""

    wall_s: float
    """Seconds since 1970, UTC."""
    monotonic_s: float


class Reach(Data, frozen=True):
    """What a machine found of the way to another."""

    rtt_s: float | None = None
    """There and back, the shortest of some; None: no answer."""
    whole: bool = False
    """Whether packets as large as asked for come through in one piece."""
    mtu: int = 0
    """If not: how large those are that do, where the way itself says so; 0: nobody knows."""
    error: str = ""
    tried: bool = True
    """False: this agent may send no pings, so nobody knows."""


class Probing(Data, frozen=True):
    """The body of `POST /v1/underlay`: measure the network to a machine that answers, or answer."""

    local: str
    """This machine's IPv4 address for data."""
    key: str
    """32 hex digits that both know: nothing else is answered."""
    mtu: int
    remote: str = ""
    """Of who answers; empty: answer yourself, for some seconds."""
    port: int = 0
    """Where that one does."""


class Measured(Data, frozen=True):
    """What the network between two machines did; or where it is answered who measures."""

    rtt_s: float | None = None
    """There and back, the shortest of some; None: no answer."""
    forth_bps: float | None = None
    """Of IP packets that came in at the other machine; None: it couldn't be told."""
    back_bps: float | None = None
    error: str = ""
    port: int = 0
    """UDP port at which this machine answers."""


class Door(Data, frozen=True):
    """Where tunnels come in at another machine."""

    address: str
    """Its IPv4 address for data."""
    port: int
    """Of UDP."""


class Knocking(Data, frozen=True):
    """The body of `POST /v1/knock`: try doors of other machines, or answer at this one's."""

    local: str
    """This machine's IPv4 address for data."""
    key: str
    """32 hex digits that all of them know: nothing else is answered."""
    doors: tuple[Door, ...] = ()
    """Which to try; none: answer."""
    ports: tuple[int, ...] = ()
    """Where to answer, for some seconds."""


class Knocked(Data, frozen=True):
    """What came of it."""

    answered: tuple[bool, ...] = ()
    """Of each door that was tried."""
    error: str = ""
    """Why this machine can neither try nor answer."""


class Lease(Data, frozen=True):
    """Who may change a mesh now; the body of `PUT /v1/meshes/NAME/lease`."""

    holder: str
    """A word that nobody else has."""
    who: str
    """For people: `anna on laptop`."""
    for_s: float
    """It ends by itself so long after it was last asked for; 0: at once."""
    controller: str = ""
    """Which process asks, in words by which one of the same computer knows whether it lives."""
    instead: str = ""
    """The `controller` of the one who has the turn, who is known to be gone: take it over."""
