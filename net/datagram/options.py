"""What a stream of datagrams is asked for, and the bounds of all of them. Pure.

Must not know: asyncio, sockets, the clock, what messages hold.
"""

from __future__ import annotations

from dataclasses import dataclass

from net.errors import LocalWireError

MAX_MESSAGE_BYTES = 256 * 2**20
"""Default bound of one message, and of all that a session reassembles at a time."""
MAX_IN_FLIGHT = 4096
"""Most messages that a session has begun and not finished, and most that it may miss at a time."""
MAX_RETAINED_BYTES = 64 * 2**20
"""Most that a sender keeps to send again; the oldest is let go first."""
DEADLINE_S = 1.0
"""Default."""
MAX_DEADLINE_S = 60.0
MAX_FEC_RATIO = 1.0
MIN_MTU_BYTES = 576
"""What every IPv4 path carries (RFC 791)."""


@dataclass(frozen=True, slots=True)
class Options:
    """One stream's.

    Attributes:
        deadline_s: How long a message may take, from its first fragment to its last; what is not
            whole by then is given up.
        fec_ratio: Parity fragments per fragment, 0 to 1, rounded down: 0.25 costs a quarter more
            and mends the loss of any fifth of what is sent. Messages of less than 1/ratio
            fragments get none.
        retransmit: Whether what is missing is asked for and sent again within the deadline.
        partial: Whether a message of which something is missing at its deadline is delivered
            with zeros there and a mask, rather than dropped.
        rate_bps: Bit/s of datagrams at which to send; 0: as fast as the path turns out to carry.
        mtu_bytes: Largest IP packet to send; 0: what the path carries.
        batch: Whether the kernel may be given up to 64 KB of datagrams at once (GSO). A queue
            right behind the socket then sees them as one packet, and loses all or none.
    """

    deadline_s: float = DEADLINE_S
    fec_ratio: float = 0.0
    retransmit: bool = True
    partial: bool = False
    rate_bps: float = 0.0
    mtu_bytes: int = 0
    batch: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.deadline_s <= MAX_DEADLINE_S:
            raise LocalWireError(f"a deadline of {self.deadline_s} s; 0 to {MAX_DEADLINE_S} s")
        if not 0 <= self.fec_ratio <= MAX_FEC_RATIO:
            raise LocalWireError(f"fec of {self.fec_ratio}; it is a ratio from 0 to 1")
        if not 0 <= self.rate_bps < 1e15:
            raise LocalWireError(f"a rate of {self.rate_bps} bit/s")
        if self.mtu_bytes and not MIN_MTU_BYTES <= self.mtu_bytes <= 65535:
            raise LocalWireError(f"an MTU of {self.mtu_bytes} bytes; {MIN_MTU_BYTES} to 65535")
