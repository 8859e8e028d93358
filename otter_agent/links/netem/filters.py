"""Filters on what a device sends and what comes in by it: where packets go instead. Pure.

Each marks packets, or none, and sends them on through another device (act_skbedit, act_mirred).

Source: linux/pkt_cls.h, linux/tc_act/tc_mirred.h, linux/tc_act/tc_skbedit.h.
Must not know: links, sockets.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from otter_agent.network.messages import F_CREATE, F_EXCL, Request, attribute, attributes

RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46
IN, OUT = 0xFFFFFFF2, 0xFFFFFFF3
"""Parents of filters on what comes in by a device and on what it sends (TC_H_MIN_INGRESS, …)."""
DETOUR, ALL, MARKED = 0x4F54, 0x4F53, 0x4F52
"""Priorities of ours among others on the device: the least is asked first."""

_TC = struct.Struct("=BxxxiIII")
_U32, _U16 = struct.Struct("=I"), struct.Struct("=H")
_GENERAL = struct.Struct("=5I")  # tc_gen: index, capab, action, refcnt, bindcnt
_MIRRED = struct.Struct("=5IiI")  # tc_gen, eaction, ifindex
_U32_SELECTOR = struct.Struct("=BBBxHHhhI")  # flags, offshift, nkeys, offmask, off, offoff, …
_U32_KEY = struct.Struct("=IIii")  # mask, val, off, offmask: one that all packets have
_U32_SEL, _U32_ACT, _U32_TERMINAL = 5, 7, 1
_KIND, _OPTIONS = 1, 2
_MATCHALL_ACT, _FW_ACT = 2, 4
_ACT_KIND, _ACT_OPTIONS = 1, 2
_MIRRED_PARMS = _SKBEDIT_PARMS = 2
_SKBEDIT_PRIORITY, _SKBEDIT_MARK, _SKBEDIT_PTYPE = 3, 5, 7
_PASS, _PIPE, _STOLEN = 0, 3, 4
_TO_SENDING, _TO_COMING_IN = 1, 3  # TCA_EGRESS_REDIR, TCA_INGRESS_REDIR
_FOR_US = 0
"""PACKET_HOST: what came in by a device that isn't its own."""
_NESTED = 0x8000
_ALL_PROTOCOLS = 0x0300  # htons(ETH_P_ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """A filter's place; there is one of ours at most."""

    index: int
    parent: int
    priority: int
    handle: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What it does with packets.

    Attributes:
        where: With priority `MARKED` it is about those with the mark `where.handle`, else all.
        to: Index of the device that they go on through; 0: they pass.
        inward: They come in there, rather than be sent.
        mark: They get; None: they keep theirs.
        turn: The class that they get, wherever it is; None: none.
    """

    where: Where
    to: int
    inward: bool = False
    mark: int | None = None
    turn: int | None = None

    def put(self, op: object) -> Request:
        """Make it; there must be none."""
        place = self.where
        info = place.priority << 16 | _ALL_PROTOCOLS
        actions = [one for one in (self._edit(), self._redirect()) if one]
        numbered = b"".join(attribute(n | _NESTED, one) for n, one in enumerate(actions, 1))
        kind, at = (b"fw\0", _FW_ACT) if place.priority == MARKED else (b"matchall\0", 2)
        options = attribute(at | _NESTED, numbered)
        body = _TC.pack(0, place.index, place.handle, place.parent, info) + attribute(_KIND, kind)
        body += attribute(_OPTIONS | _NESTED, options)
        return Request(RTM_NEWTFILTER, F_CREATE | F_EXCL, body, op)

    def _edit(self) -> bytes:
        values = b""
        if self.turn is not None:
            values += attribute(_SKBEDIT_PRIORITY, _U32.pack(self.turn))
        if self.mark is not None:
            values += attribute(_SKBEDIT_MARK, _U32.pack(self.mark))
        if self.inward:
            values += attribute(_SKBEDIT_PTYPE, _U16.pack(_FOR_US))
        if not values:
            return b""
        head = attribute(_SKBEDIT_PARMS, _GENERAL.pack(0, 0, _PIPE if self.to else _PASS, 0, 0))
        return _action("skbedit", head + values)

    def _redirect(self) -> bytes:
        if not self.to:
            return b""
        way = _TO_COMING_IN if self.inward else _TO_SENDING
        return _action(
            "mirred", attribute(_MIRRED_PARMS, _MIRRED.pack(0, 0, _STOLEN, 0, 0, way, self.to))
        )


def put_plain(where: Where, to: int, op: object) -> Request:
    """Send all packets on through another device, also where the kernel has no cls_matchall: u32.

    There must be none at that place; the kernel names it.
    """
    redirect = Filter(where=where, to=to)._redirect()
    selector = _U32_SELECTOR.pack(_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + _U32_KEY.pack(0, 0, 0, 0)
    options = attribute(_U32_SEL, selector)
    options += attribute(_U32_ACT | _NESTED, attribute(1 | _NESTED, redirect))
    info = where.priority << 16 | _ALL_PROTOCOLS
    body = _TC.pack(0, where.index, 0, where.parent, info) + attribute(_KIND, b"u32\0")
    return Request(
        RTM_NEWTFILTER, F_CREATE | F_EXCL, body + attribute(_OPTIONS | _NESTED, options), op
    )


def drop(where: Where, op: object) -> Request:
    """The end of it."""
    handle = where.handle if where.priority == MARKED else 0
    info = where.priority << 16 | _ALL_PROTOCOLS
    kind = attribute(_KIND, b"fw\0") if where.priority == MARKED else b""
    body = _TC.pack(0, where.index, handle, where.parent, info) + kind
    return Request(RTM_DELTFILTER, 0, body, op)


def ask(index: int, parent: int) -> tuple[int, bytes]:
    """Asks for a device's filters."""
    return RTM_GETTFILTER, _TC.pack(0, index, 0, parent, 0)


def parse(body: bytes) -> tuple[Where, int] | None:
    """From a dump: one of ours, and the device that it sends packets through; else None."""
    _, index, handle, parent, info = _TC.unpack_from(body)
    at = dict(attributes(body, _TC.size))
    priority, kind = info >> 16, at.get(_KIND, b"")
    if priority not in (DETOUR, ALL, MARKED) or not handle:
        return None
    if kind != (b"fw\0" if priority == MARKED else b"matchall\0"):
        return None
    inside = dict(attributes(at.get(_OPTIONS, b""), 0))
    actions = inside.get(_FW_ACT if priority == MARKED else _MATCHALL_ACT, b"")
    to = 0
    for _, action in attributes(actions, 0):
        named = dict(attributes(action, 0))
        options = dict(attributes(named.get(_ACT_OPTIONS, b""), 0))
        if named.get(_ACT_KIND) == b"mirred\0" and _MIRRED_PARMS in options:
            to = _MIRRED.unpack_from(options[_MIRRED_PARMS])[-1]
    return Where(index=index, parent=parent, priority=priority, handle=handle), to


def _action(kind: str, options: bytes) -> bytes:
    return attribute(_ACT_KIND, kind.encode() + b"\0") + attribute(_ACT_OPTIONS | _NESTED, options)
