"""Whether this kernel has what links need; tried in a namespace that ends at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from otter_agent.errors import NetworkError
from otter_agent.links.base import Facts
from otter_agent.links.netem import filters, lateness, medium, tc
from otter_agent.links.netem import place as places
from otter_agent.links.netem.options import (
    WHOLE,
    ByteQueue,
    Codel,
    Drr,
    Htb,
    Leaf,
    Netem,
    Red,
    Share,
)
from otter_agent.network import messages, namespaces
from otter_agent.network.netlink import Netlink
from otter_agent.network.operations import AddPair

_ERROR_S = 0.0001
"""Median error of a delay: what docs/links.md reports."""
_USER = "the `tun` driver is used"
_DEVICE = "probe"
_RED = Red(limit=60_000, least=5_000, most=15_000, weight_log2=5, chance=WHOLE // 10, idle_ns=10**6)
_LEAVES: dict[str, Leaf] = {"codel": Codel(limit=100), "red": _RED}


_OF_MEDIA = ("cls_fw, act_skbedit", "sch_drr")
_EXTRAS = (*_LEAVES, "medium")
"""What netem can do without."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is.

    Attributes:
        missing: Queue discipline, or `medium` -> why there is none.
        late_ns: By how much timers may be late without loss of rate.
    """

    facts: Facts
    missing: Mapping[str, str]
    late_ns: int = lateness.USUAL_NS


def probe() -> Found:
    """Make each qdisc once; nothing stays."""
    if os.geteuid() != 0:
        return _unusable("qdiscs need root; run the agent as root")
    try:
        missing = namespaces.in_own_thread(_try)
    except OSError as exc:
        return _unusable(str(namespaces.failed("make a namespace", "this machine", exc)))
    except NetworkError as exc:
        return _unusable(str(exc))
    kernel = f"Linux {os.uname().release}"
    lacking = [what for what in missing if what not in _EXTRAS]
    if lacking:
        verb = "isn't" if len(lacking) == 1 else "aren't"
        return _unusable(f"{', '.join(lacking)} {verb} in this kernel ({kernel}); {_USER}", missing)
    extra = "".join(f", no {what}" for what in missing)
    late_ns = namespaces.in_own_thread(lateness.made_up_ns)
    detail = f"sch_netem, {kernel}{extra}, timers late by up to {late_ns / 1e6:.2g} ms made up for"
    return Found(Facts(usable=True, detail=detail, error_s=_ERROR_S), missing, late_ns)


def _unusable(why: str, missing: Mapping[str, str] | None = None) -> Found:
    return Found(Facts(usable=False, detail=why), missing or dict.fromkeys(_EXTRAS, why))


def _try() -> dict[str, str]:
    """Part of the kernel -> why it can't be used. Ends in a namespace that ends with the thread."""
    namespaces.unshare()
    first = namespaces.open_own()
    try:
        namespaces.unshare()
        with Netlink() as netlink:
            pair = AddPair(_DEVICE, 0, b"\x02\0\0\0\0\1", "", _DEVICE, 0)
            netlink.send([messages.encode(pair, first)], "this machine")
            netlink.exchange([tc.add_detour_device(places.detour_device(_DEVICE), "")])
            index = netlink.index_of(_DEVICE)
            detour = netlink.index_of(places.detour_device(_DEVICE))
            return _missing(netlink, index, detour)
    finally:
        os.close(first)


def _missing(netlink: Netlink, index: int, detour: int) -> dict[str, str]:
    netem = Netem(latency_ns=10**6, overhead=-14)
    parts = {
        "sch_netem": tc.put_qdisc(index, places.ENTRY, tc.ROOT, netem, "", new=True),
        "sch_htb": tc.put_qdisc(index, places.SHARES, places.ENTRY + 1, Htb(), "", new=True),
        "htb class": tc.put_class(index, places.SHARE, Share(rate=10**6), "", new=True),
        "sch_ingress": tc.put_ingress(index, ""),
        "cls_matchall and act_mirred": places.detour_filter(index, detour or index).put(""),
    }
    leaves: dict[str, Leaf] = {"bfifo": ByteQueue(limit=10_000), **_LEAVES}
    for name, leaf in leaves.items():
        handle = places.LEAF_HANDLES[leaf.kind]
        parts[name] = tc.put_qdisc(index, handle, places.SHARE, leaf, "", new=True)
    marked = filters.Where(index=index, parent=filters.IN, priority=filters.MARKED, handle=1)
    parts |= {
        "cls_fw, act_skbedit": filters.Filter(where=marked, to=detour or index, mark=0).put(""),
        "sch_drr": tc.put_qdisc(index, medium.TURNS, places.SHARE, Drr(), "", new=True),
    }
    answers = dict(zip(parts, netlink.exchange(list(parts.values())), strict=True))
    missing = {} if detour else {"ifb": "ifb isn't in this kernel"}
    for name, answer in answers.items():
        if answer.code:
            words = answer.words or os.strerror(answer.code)
            missing[name] = f"sch_{name} isn't in this kernel" if name in _LEAVES else words
            if name in _OF_MEDIA:
                missing["medium"] = f"{name} isn't in this kernel"
                del missing[name]
    if "sch_netem" in missing:  # what hangs below it can't have been tried
        return {"sch_netem": missing["sch_netem"]} | dict.fromkeys(_EXTRAS, "no sch_netem")
    if "sch_htb" in missing:
        missing.pop("htb class", None)
        missing.pop("bfifo", None)
    return missing
