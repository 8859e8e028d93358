"""What a part of a mesh knows of the other machines, and what machines tell of each other. Pure."""

from __future__ import annotations

import msgspec

from otter_agent.api.base import Data

MTU_BYTES = 1500
"""Of a mesh's devices while all of it is on one machine."""
TUNNEL_BYTES = 50
"""What VXLAN adds to a packet: Ethernet, IPv4, UDP and its own header."""
TUNNEL_PORT = 14789
"""UDP port of a machine at which packets of links between machines come in."""


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


class Away(Data, frozen=True):
    """Another machine that carries a part of the mesh."""

    machine: str
    """Its name in the site file of who applied."""
    hosts: tuple[str, ...]
    modules: dict[str, str] = msgspec.field(default_factory=dict)
    """Module -> its host."""


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
    error: str = ""


class Lease(Data, frozen=True):
    """Who may change a mesh now; the body of `PUT /v1/meshes/NAME/lease`."""

    holder: str
    """A word that nobody else has."""
    who: str
    """For people: `anna on laptop`."""
    for_s: float
    """It ends by itself so long after it was last asked for; 0: at once."""
