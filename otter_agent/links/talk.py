"""What an agent and a helper of its links say to each other over a Unix socket. Pure.

     0          4 ...
     | length   | JSON of a request or a `Reply`

Descriptors come with a request's first byte. One request at a time per connection, an answer to
each. Must not know: sockets, what helpers do.
"""

from __future__ import annotations

import struct

from otter_agent import api
from otter_agent.api.base import Data

LENGTH = struct.Struct("=I")
LONGEST_BYTES = 1 << 26
STAYS = "--stays"
"""In a helper's command line: it stays, with nothing to do, for the agent that is connected."""


class Reply(Data, frozen=True):
    """What came of a request."""

    pid: int
    """The helper's."""
    problem: str = ""
    """It isn't understood: whoever asks is of another version."""


def pack(message: Data) -> bytes:
    """A message with its length before it."""
    body = api.encode(message)
    return LENGTH.pack(len(body)) + body
