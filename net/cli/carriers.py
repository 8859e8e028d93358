"""What carries the messages: `net.stream` and `net.datagram` have the same words."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def carrier(*, udp: bool) -> Any:
    """The package whose `connect` and `listen` to use."""
    return import_module("net.datagram" if udp else "net.stream")
