"""What a placement costs, in seconds. Pure.

    cost = Σ flows weight · latency(room of source, room of target, bytes)
         + Σ items  what its room costs it by itself
         + Σ stores 8 · bytes of images that have to be brought there / IMAGE_BPS / RUN_S
         + Σ rooms  CROWDING_S · (used / has)² of its fullest resource

The first term is why an item goes near those it talks to. The third is why it goes where its image
is: bringing one is paid once, and a run is taken to last for `RUN_S`, so a gigabyte counts as much
as 13 ms more for a message each second; items that share an image bring it once. The last, a
thousandth of a second for a full room, spreads what has no reason to be anywhere: being square, it
rather fills two rooms by half than one whole. Latency without end (no way there) counts as
`NOWHERE_S`, so that sums can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from otter_ctl.placing.request import Item, Request, Room

CROWDING_S = 0.001
IMAGE_BPS = 1e9
"""At which images are brought: what one SSH connection carries between good machines."""
RUN_S = 600.0
"""For as long as a run is taken to last: what is paid once is shared out over its seconds."""
NOWHERE_S = 1e6


def flow_s(request: Request, source: str, target: str, message_bytes: float) -> float:
    """Latency between two rooms, or `NOWHERE_S`."""
    seconds = request.cross_s(source, target, message_bytes)
    return seconds if math.isfinite(seconds) else NOWHERE_S


def image_s(size_bytes: float) -> float:
    """What images that have to be brought cost."""
    return 8 * size_bytes / IMAGE_BPS / RUN_S


def brought_bytes(request: Request, seats: Mapping[str, str]) -> int:
    """All images that a placement has to bring, each once to each store."""
    keeps = {room.name: room.keeps for room in request.rooms}
    needed = {(keeps[seats[item.name]], image) for item in request.items for image in item.images}
    return sum(request.sends.get(one, 0) for one in needed)


def crowding_s(room: Room, used: Mapping[str, float]) -> float:
    """What a room's fullness costs."""
    return CROWDING_S * fullness(room, used) ** 2


def fullness(room: Room, used: Mapping[str, float]) -> float:
    """The used part of a room's scarcest resource, from 0; over 1: overfull."""
    return max(
        (used.get(kind, 0.0) / has for kind, has in room.has.items() if has > 0), default=0.0
    )


def usage(items: tuple[Item, ...], seats: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Room -> resource -> used by the items seated there."""
    used: dict[str, dict[str, float]] = {}
    for item in items:
        room = used.setdefault(seats[item.name], {})
        for kind, needs in item.needs.items():
            room[kind] = room.get(kind, 0.0) + needs
    return used


def total_s(request: Request, seats: Mapping[str, str]) -> float:
    """The cost of a whole placement."""
    used = usage(request.items, seats)
    crowding = (crowding_s(room, used.get(room.name, {})) for room in request.rooms)
    flows = (
        f.weight * flow_s(request, seats[f.source], seats[f.target], f.message_bytes)
        for f in request.flows
    )
    own = (item.there.get(seats[item.name], 0.0) for item in request.items)
    images = image_s(brought_bytes(request, seats)) if request.sends else 0.0
    return sum(flows) + sum(own) + images + sum(crowding)
