"""Hosts and modules -> IPv4 addresses out of one pool. Pure.

Every host has a block, /24 or larger, aligned to its size; within it .1 is the host itself and
modules follow from .2 on (first and last address stay free: some programs balk at them). What a
running mesh uses is kept; what is new fills the lowest gaps, so the same file gives the same
addresses on every laptop. Plain ints: `ipaddress` objects are ten times slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from net.routing.blocks import Block, dotted, parse_address, parse_block
from otter_agent.api import MeshSpec
from otter_ctl.errors import PlanError
from otter_ctl.topology.model import POOL

UNIT = 256
"""Smallest block, addresses."""
_RESERVED = 3
"""First, last, and the host's own."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The outcome: block of each host, address of each module."""

    blocks: dict[str, Block]
    modules: dict[str, str]

    def names(self) -> dict[str, str]:
        """Name of every host and module -> address, for name resolution."""
        return {host: dotted(block.host) for host, block in self.blocks.items()} | self.modules


def allocate(
    placed: Mapping[str, Sequence[str]], current: MeshSpec | None, pool: str = POOL
) -> Addresses:
    """Addresses for hosts and the modules placed on each, keeping those of `current`.

    Args:
        placed: Host -> its modules, in the order of the file.
        current: The mesh as it is desired now; None: there is none.
        pool: The network that they are taken from; what lies outside isn't kept.

    Raises:
        PlanError: The pool has no room left.
    """
    whole = parse_block(pool)
    kept = _kept_blocks(placed, current, whole)
    blocks = _with_new_blocks(placed, kept, whole)
    before = {m.name: m.address for m in current.modules} if current else {}
    modules: dict[str, str] = {}
    for host, names in placed.items():
        modules |= _module_addresses(blocks[host], names, before)
    return Addresses(blocks, modules)


def needed(modules: int) -> int:
    """The smallest size of a block that holds so many modules."""
    return max(UNIT, 1 << (modules + _RESERVED - 1).bit_length())


def _kept_blocks(
    placed: Mapping[str, Sequence[str]], current: MeshSpec | None, pool: Block
) -> dict[str, Block]:
    """The blocks in use, of hosts that stay and still fit theirs."""
    if current is None:
        return {}
    blocks = {h.name: parse_block(h.block) for h in current.hosts if h.name in placed}
    return {
        h: b
        for h, b in blocks.items()
        if b.size >= needed(len(placed[h])) and pool.base <= b.base < pool.base + pool.size
    }


def _with_new_blocks(
    placed: Mapping[str, Sequence[str]], kept: Mapping[str, Block], pool: Block
) -> dict[str, Block]:
    """A block for every host, in the hosts' order."""
    used: set[int] = set()
    for block in kept.values():
        used.update(range(block.base // UNIT, (block.base + block.size) // UNIT))
    cursors: dict[int, int] = {}
    blocks = {}
    for host, modules in placed.items():
        blocks[host] = kept.get(host) or _free(needed(len(modules)), used, cursors, pool)
    return blocks


def _free(size: int, used: set[int], cursors: dict[int, int], pool: Block) -> Block:
    """The lowest free block of a size; `cursors` remember where the search for a size got to."""
    units = size // UNIT
    end = (pool.base + pool.size) // UNIT
    start = cursors.get(units, -(-pool.base // size) * units)
    while start + units <= end:
        wanted = range(start, start + units)
        if used.isdisjoint(wanted):
            used.update(wanted)
            cursors[units] = start + units
            return Block(start * UNIT, size)
        start += units
    hint = "use fewer hosts, or a larger `pool` in [network]"
    raise PlanError("addresses", f"the pool {pool} has no block left", hint=hint)


def _module_addresses(
    block: Block, names: Sequence[str], before: Mapping[str, str]
) -> dict[str, str]:
    """Addresses of a host's modules: those they have in this block, else the lowest free."""
    kept: dict[str, int] = {}
    for name in names:
        address = parse_address(before[name]) if name in before else 0
        if address in block and address != block.host:
            kept[name] = address
    used = {block.host, *kept.values()}
    free = (a for a in range(block.base + 2, block.base + block.size - 1) if a not in used)
    return {name: dotted(kept[name] if name in kept else next(free)) for name in names}
