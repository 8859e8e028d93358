"""A change of a direction -> messages to the kernel, written before its time. Pure.

Each says only what differs from the change before it: so a direction's letters are sent in the
order in which they were written, none left out. Must not know: sockets, clocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from net.links.spec import LinkSpec
from otter_agent.links.netem import place as places
from otter_agent.links.netem import tc, tree
from otter_agent.links.netem.options import Netem
from otter_agent.links.netem.place import Place
from otter_agent.links.netem.playing.protocol import Have, Lent
from otter_agent.links.netem.tree import Tree
from otter_agent.network.netlink import message

_DOWN = 1


class Unfit(ValueError):  # noqa: N818 - a word of this folder
    """It can't be had by changes alone."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What makes one change.

    Attributes:
        source: Messages to the namespace that packets leave.
        target: To the one that they come into.
        numbers: First and last of the messages' numbers, and one.
        asks: The number of the message that asks how many packets were dropped; 0: none does.
    """

    source: bytes
    target: bytes
    numbers: range
    asks: int = 0


def write(place: Place, spec: LinkSpec, late_ns: int, number: int) -> Letter:
    """The messages that make a direction what is asked; `place` is what they leave then.

    Args:
        place: Where it is, and what is there when all letters of before have come.
        spec: What is asked.
        late_ns: By how much timers may be late without loss of rate.
        number: Of the first message.

    Raises:
        Unfit: A device is missing that only the agent makes.
    """
    before, want = place.tree, tree.wanted(spec, place.tree, place.apart, late_ns)
    if want.wire is not None and not place.filtered:
        raise Unfit("there is no queue yet for what comes in")
    turned = _is_down(before.entry) != _is_down(want.entry)
    first, asks = number, 0
    source, target = bytearray(), bytearray()
    for side, part, request in places.steps(place, want):
        flags = request.flags & ~tc.F_ECHO
        if turned and part == "entry":
            asks, flags = number, request.flags
        into = source if side == "source" else target
        into += message(number, request.kind, flags, request.body)
        number += 1
    place.tree = _then(before, want)
    place.htb = place.htb or want.share is not None
    return Letter(bytes(source), bytes(target), range(first, number), asks)


def _is_down(entry: Netem | None) -> bool:
    return entry is not None and bool(entry.tag & _DOWN)


def _then(have: Tree, want: Tree) -> Tree:
    """What is there when what is wanted has come; what is not wanted stays."""
    return Tree(
        entry=want.entry or have.entry,
        share=want.share or have.share,
        leaf=want.leaf or have.leaf,
        wire=want.wire or have.wire,
        flight=want.flight or have.flight,
        pace=want.pace or have.pace,
    )


# --- what a direction has, from the agent to the helper -------------------------------------------


def told(tree_: Tree) -> tuple[Have, ...]:
    """What is there, in the kernel's own terms."""
    found = []
    netems = (
        (places.ENTRY, tree_.entry), (places.WIRE, tree_.wire),
        (places.FLIGHT, tree_.flight), (places.PACE, tree_.pace),
    )  # fmt: skip
    for handle, netem in netems:
        if netem is not None:
            options = netem.encode()
            found.append(
                Have(handle=handle, kind=netem.kind, options=options, overhead=netem.overhead)
            )
    if tree_.share is not None:
        share = tree_.share
        found.append(Have(handle=places.SHARE, kind=share.kind, options=share.encode()))
    if tree_.leaf is not None:
        leaf = tree_.leaf
        handle = places.LEAF_HANDLES[leaf.kind]
        found.append(Have(handle=handle, kind=leaf.kind, options=leaf.encode()))
    return tuple(found)


def place_of(lent: Lent) -> Place:
    """The same, read."""
    source, target, detour = lent.devices
    place = Place(
        source=source, target=target, apart=lent.apart, detour=detour, ingress=lent.ready,
        filtered=lent.ready,
    )  # fmt: skip
    for one in lent.have:
        on_target = one.handle in (places.WIRE, places.FLIGHT, places.PACE)
        is_class = one.handle == places.SHARE
        seen = tc.Seen(
            tc.RTM_NEWTCLASS if is_class else tc.RTM_NEWQDISC, detour if on_target else source,
            one.handle, 0, one.kind, one.options, one.overhead, tc.Stats(),
        )  # fmt: skip
        places.absorb(place, seen, "target" if on_target else "source")
    place.htb = place.tree.share is not None
    return place
