"""Ranges of IPv4 addresses. Pure; plain ints, as `ipaddress` objects are ten times slower."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """An aligned range of addresses; `size` is a power of two."""

    base: int
    size: int

    @property
    def host(self) -> int:
        """The address of the host itself."""
        return self.base + 1

    def __contains__(self, address: int) -> bool:
        return self.base < address < self.base + self.size - 1

    def __str__(self) -> str:
        return f"{dotted(self.base)}/{33 - self.size.bit_length()}"


def dotted(address: int) -> str:
    """`100.64.0.1` of an int."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def parse_address(text: str) -> int:
    """The int of `100.64.0.1`."""
    a, b, c, d = text.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def parse_block(text: str) -> Block:
    """The block of `100.64.0.0/24`."""
    base, _, length = text.partition("/")
    return Block(parse_address(base), 1 << 32 - int(length))
