"""What messages are called. Pure."""

from __future__ import annotations

DERIVED = 1 << 63
"""Set in `run` where an id follows from another message's."""


def message_id(source: str, run: int, number: int) -> str:
    """An id in words: `asr:1f9a03cc:17`, or `asr:=…` where it follows from another's."""
    if run & DERIVED:
        return f"{source}:={run:016x}{number:016x}"
    return f"{source}:{run:08x}:{number}"
