"""What an agent says to another, as a datagram: small, bounded, sealed. Pure.

    ┌────────────┬──────┬──────────────────────────────────────┐
    │ seal, 16 B │ form │ msgpack of `Said`, deflated if form 1 │
    └────────────┴──────┴──────────────────────────────────────┘

The seal is a keyed BLAKE2b of all that follows and of who says it: two machines share a key, which
the controller made for them alone. What is old is told by `number`, and what is of another life by
`life` and `to` (peer.py).
"""

from __future__ import annotations

import hashlib
import hmac
import math
import zlib

import msgspec

_SEAL_BYTES = 16
_PLAIN, _DEFLATED = b"\0", b"\1"
_DEFLATE_FROM = 1000
MAX_BYTES = 60_000
"""Of a datagram."""
MAX_SAID_BYTES = 4 << 20
"""Of what is in it."""


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """The question that is answered, and when it came, by the clock of who answers."""

    number: int
    at_s: float


class News(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one machine alone can tell of a mesh.

    Attributes:
        position_s: Where its timeline is; None: it doesn't play.
        fired: Key of an event -> when its condition became so, from the epoch.
        down: The directions of links that are down: (link, from, to).
    """

    position_s: float | None = None
    fired: dict[str, float] = {}
    down: tuple[tuple[str, str, str], ...] = ()


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """One datagram.

    Attributes:
        life: Of who says it: a word of its own for each start of an agent.
        to: The other's life, as far as it is known; empty: not yet.
        number: Counts up within a life.
        sent_s: When, by the clock of who says it.
        asks: Whether an answer is wanted, at once.
        heard: What it answers.
        error_s: By how much the clock of who says it may differ from the mesh's, once set right;
            None: it doesn't know.
    """

    life: str
    number: int
    sent_s: float
    to: str = ""
    asks: bool = False
    heard: Heard | None = None
    error_s: float | None = None
    news: News = News()


_DECODER = msgspec.msgpack.Decoder(Said)


def seal(said: Said, key: str, by: str) -> bytes:
    """As it travels.

    Args:
        said: What.
        key: That both machines know.
        by: Who says it: a machine's name.

    Raises:
        ValueError: It is too much for a datagram.
    """
    body, form = msgspec.msgpack.encode(said), _PLAIN
    if len(body) >= _DEFLATE_FROM:
        body, form = zlib.compress(body, 1), _DEFLATED
    if len(body) > MAX_BYTES:
        raise ValueError(f"{len(body)} bytes are too much to tell another machine at once")
    return _seal_of(form + body, key, by) + form + body


def opened(data: bytes, key: str, by: str) -> Said | None:
    """What a datagram says; None: it isn't that machine's, or makes no sense."""
    sealed, rest = data[:_SEAL_BYTES], data[_SEAL_BYTES:]
    if not hmac.compare_digest(sealed, _seal_of(rest, key, by)):
        return None
    form, body = rest[:1], rest[1:]
    try:
        if form == _DEFLATED:
            inflating = zlib.decompressobj()
            body = inflating.decompress(body, MAX_SAID_BYTES)
        said = _DECODER.decode(body)
    except (zlib.error, ValueError, RecursionError):
        return None
    return said if _sane(said) else None


def _seal_of(data: bytes, key: str, by: str) -> bytes:
    who = hashlib.blake2b(by.encode(), digest_size=16).digest()
    return hashlib.blake2b(data, key=key.encode(), person=who, digest_size=_SEAL_BYTES).digest()


def _sane(said: Said) -> bool:
    """Numbers are numbers: the other agent may be of another version, or ill."""
    news = said.news
    numbers = [said.sent_s, *news.fired.values()]
    numbers += [n for n in (said.error_s, news.position_s) if n is not None]
    numbers += [said.heard.at_s] if said.heard else []
    return all(map(math.isfinite, numbers)) and (said.error_s is None or said.error_s >= 0)
