"""Proof that a peer hears us at the address it gives, without keeping anything until it has.

A token follows from who asks, when, and a secret; who says it back has received it. Anybody can
write any address on a datagram, but what is answered there reaches only its owner. Pure: `now`
passed in. Must not know: asyncio, sockets, the clock.
"""

from __future__ import annotations

import hashlib
import hmac

TOKEN_BYTES = 8
"""A guess is right once in 2^64."""
VALID_S = 10.0
"""At least; twice that at most."""


class Tokens:
    """Gives tokens, and knows them again.

    Args:
        secret: Up to 64 random bytes that nobody else has.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def give(self, address: tuple[str, int], session: int, now: float) -> bytes:
        """The token for a session that is to begin at that address."""
        return self._token(address, session, int(now // VALID_S))

    def proves(self, token: bytes, address: tuple[str, int], session: int, now: float) -> bool:
        """Whether it is one that was given there lately, for this very session."""
        period = int(now // VALID_S)
        return any(
            hmac.compare_digest(token, self._token(address, session, each))
            for each in (period, period - 1)
        )

    def _token(self, address: tuple[str, int], session: int, period: int) -> bytes:
        asked = f"{address[0]}|{address[1]}|{session}|{period}".encode()
        return hashlib.blake2b(asked, digest_size=TOKEN_BYTES, key=self._secret).digest()
