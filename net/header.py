"""The bytes that every message begins with: docs/wire-format.md. Pure.

Apart from `net.wire`, so that what handles short messages (`net.plain`, `net/_short`) can know it
without knowing messages.
"""

from __future__ import annotations

import struct

from net import OTTER_WIRE_VERSION

MAGIC = b"OTTR"
HELLO, ACCEPT, REFUSE, MESSAGE, END, ACK = range(1, 7)
"""Kinds."""
HEADER = struct.Struct("!6sBBIQH6xQQQdddd")
"""The first six bytes of a message are `MESSAGE_START`: fewer fields cost less."""
MESSAGE_START = MAGIC + bytes((OTTER_WIRE_VERSION, MESSAGE))
"""What every message of this version begins with."""
URGENT = 1
"""Flag: the sender waits for the acknowledgement."""
FLAGS = URGENT
"""All there are."""
MAX_REPLY_BYTES = 1024
MAX_TIME = 1e15
