"""How long the two ends of a stream wait for each other. Must not know: who waits, and how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds.

    Attributes:
        first_retry_s: Wait after the first failed attempt; doubled each time.
        longest_retry_s: Longest wait between attempts.
        attempt_s: Longest one attempt may take: two round trips of the slowest link.
        close_s: How long closing looks for a receiver that isn't there. (One that is there gets all
            the time it needs to take what was sent.)
        hello_s: How long a receiver keeps a connection on which no stream has said hello.
        dead_s: A peer that vanished without a word is found within this, and a quarter more;
            later if it had no room for what was sent.
        ack_s: Longest that an acknowledgement waits for others to go with.
    """

    first_retry_s: float = 0.02
    longest_retry_s: float = 0.5
    attempt_s: float = 15.0
    close_s: float = 5.0
    hello_s: float = 10.0
    dead_s: float = 16.0
    ack_s: float = 0.005
