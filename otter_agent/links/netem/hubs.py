"""Media in the kernel, each in the namespace of the host in its cell's middle: made, kept, read.

What is there of a namespace's media is remembered until a device of it comes or goes; a change
sends what differs. One thread at a time. Must not know: how a medium is made (`medium.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from net.links.spec import LinkSpec
from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction
from otter_agent.links.netem import filters, medium, tc, tree
from otter_agent.links.netem.counters import Queue
from otter_agent.links.netem.lateness import USUAL_NS
from otter_agent.links.netem.medium import Key, Member, Thing
from otter_agent.links.netem.options import Leaf
from otter_agent.links.netem.place import detour_device
from otter_agent.links.netem.sockets import Sockets
from otter_agent.network import messages
from otter_agent.network.messages import Request
from otter_agent.network.netlink import Netlink, refused
from otter_agent.network.operations import BringUp, DeleteDevice

UNEVEN = (
    "its rate is another than other members': while the slower ones send, all together have more "
    "than there is (the driver `tun` shares time)"
)
_SIDES = (filters.IN, filters.OUT)


@dataclass(slots=True)
class _Hub:
    """A namespace as it is: devices by name, and what is on them."""

    devices: dict[str, int] = field(default_factory=dict)
    have: dict[Key, object] = field(default_factory=dict)
    stats: dict[Key, tc.Stats] = field(default_factory=dict)


class Hubs:
    """Media, by the namespace in which they are.

    Attributes:
        members: What is asked of directions that share something.
        late_ns: By how much timers may be late without loss of rate.
    """

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self.members: dict[Direction, LinkSpec] = {}
        self.late_ns = USUAL_NS
        self._hubs: dict[str, _Hub] = {}

    def moved(self, netns: str) -> None:
        """Devices in a namespace have come or gone."""
        self._hubs.pop(netns, None)

    def put(self, asked: Mapping[Direction, LinkSpec]) -> dict[Direction, NetworkError]:
        """Make directions share what they name; their own qdiscs are there. Says what failed."""
        per: defaultdict[str, list[Direction]] = defaultdict(list)
        for direction in asked:
            per[direction.hub_netns].append(direction)
        failed: dict[Direction, NetworkError] = {}
        for netns, these in per.items():
            before = {d: self.members.get(d) for d in these}
            self.members |= {d: asked[d] for d in these}
            try:
                with self._sockets.of(netns) as netlink:
                    wrong = self._put(netlink, netns, these)
            except (NetworkError, OSError) as exc:
                wrong = dict.fromkeys(these, _explained(exc, netns))
            for direction in wrong:
                self._hubs.pop(netns, None)
                self._restore(direction, before.get(direction))
            failed |= wrong
        return failed

    def uneven(self, directions: Iterable[Direction]) -> dict[Direction, NetworkError]:
        """Those that share as well as it can be done, which isn't what they were asked to."""
        found: dict[Direction, NetworkError] = {}
        for direction in directions:
            if direction in self.members and medium.uneven(self._sharing(direction).values()):
                found[direction] = _error(direction, UNEVEN)
        return found

    def _sharing(self, direction: Direction) -> dict[Direction, LinkSpec]:
        """All that send on its medium."""
        key = direction.hub_netns, self.members[direction].medium
        return {d: s for d, s in self.members.items() if (d.hub_netns, s.medium) == key}

    def leave(self, directions: Collection[Direction]) -> dict[Direction, NetworkError]:
        """What they send from now on goes past the medium; what waits there goes on."""
        failed: dict[Direction, NetworkError] = {}
        for direction in directions:
            if self.members.pop(direction, None) is None:
                continue
            netns = direction.hub_netns
            try:
                with self._sockets.of(netns) as netlink:
                    hub = self._hub(netlink, netns, [direction])
                    place = medium.way_in(_member(hub, direction, LinkSpec()))
                    netlink.exchange([filters.drop(place, "leave the medium")])
            except (NetworkError, OSError) as exc:
                failed[direction] = _explained(exc, netns)
            self._hubs.pop(netns, None)
        return failed

    def agreeing(self, directions: Iterable[Direction]) -> set[Direction]:
        """Those that share as they were asked to, as the kernel says now."""
        found: set[Direction] = set()
        per: defaultdict[str, list[Direction]] = defaultdict(list)
        for direction in directions:
            if direction in self.members:
                per[direction.hub_netns].append(direction)
        for netns, these in per.items():
            self._hubs.pop(netns, None)
            try:
                with self._sockets.of(netns) as netlink:
                    hub = self._hub(netlink, netns, these)
            except (NetworkError, OSError):
                continue
            found |= {d for d in these if self._agrees(hub, d)}
        return found

    def queues(self, directions: Iterable[Direction]) -> dict[Direction, Queue]:
        """Of members, as they are now."""
        found: dict[Direction, Queue] = {}
        per: defaultdict[str, list[Direction]] = defaultdict(list)
        for direction in directions:
            if direction in self.members:
                per[direction.hub_netns].append(direction)
        for netns, these in per.items():
            try:
                with self._sockets.of(netns) as netlink:
                    seen = _qdiscs(netlink, netns)
                    hub = self._hub(netlink, netns, these)
            except (NetworkError, OSError):
                continue
            stats = {("leaf", one.index, one.parent): one.stats for one in seen}
            for direction in these:
                key = self._leaf_key(hub, direction)
                leaf = hub.have.get(key)
                if isinstance(leaf, Leaf) and key in stats:
                    counts = tree.overhead(self.members[direction])
                    queue = Queue(kind=leaf.kind, overhead=counts, stats=stats[key])
                    found[direction] = queue
        return found

    def forget(self, gone: Collection[Direction], staying: Collection[str]) -> None:
        """Let go of directions; in namespaces that stay, nothing of them does."""
        for direction in gone:
            spec = self.members.pop(direction, None)
            netns = direction.hub_netns
            if spec is None or spec.medium is None or netns not in staying:
                continue
            try:
                with self._sockets.of(netns) as netlink:
                    self._remove(netlink, netns, direction, spec.medium)
            except (NetworkError, OSError):  # it has gone by itself
                self._hubs.pop(netns, None)
        for netns in {d.hub_netns for d in gone}:
            self._hubs.pop(netns, None)

    # --- making -----------------------------------------------------------------------------------

    def _put(
        self, netlink: Netlink, netns: str, these: Sequence[Direction]
    ) -> dict[Direction, NetworkError]:
        failed: dict[Direction, NetworkError] = {}
        hub = self._hub(netlink, netns, these)
        for one in {self.members[d].medium: d for d in these}.values():
            named = self.members[one].medium or ""
            sharing = {d: s for d, s in self._sharing(one).items() if d.device in hub.devices}
            members = [_member(hub, d, s) for d, s in sharing.items()]
            pair = _pair(netlink, hub, named, netns)
            wrong = _send(netlink, hub, medium.things(pair, members, self.late_ns))
            failed |= {d: wrong[d] for d in these if d in wrong}
            if None in wrong:
                failed |= {d: wrong[None] for d in these if self.members[d].medium == named}
        return failed

    def _remove(self, netlink: Netlink, netns: str, direction: Direction, named: str) -> None:
        hub = self._hub(netlink, netns, [direction])
        pair = tuple(hub.devices.get(name, 0) for name in medium.devices(named))
        if not all(pair):
            return
        if direction.device in hub.devices:
            number = _member(hub, direction, LinkSpec()).number
            netlink.exchange(medium.removal((pair[0], pair[1]), number))
        others = (d for d, s in self.members.items() if d.hub_netns == netns)
        if not any(self.members[d].medium == named for d in others):
            gone = DeleteDevice(pair[0], medium.devices(named)[0])
            netlink.exchange([messages.encode(gone)])
        self._hubs.pop(netns, None)

    def _restore(self, direction: Direction, before: LinkSpec | None) -> None:
        if before is None:
            self.members.pop(direction, None)
        else:
            self.members[direction] = before

    # --- reading ----------------------------------------------------------------------------------

    def _hub(self, netlink: Netlink, netns: str, these: Iterable[Direction]) -> _Hub:
        """Remembered, or read anew."""
        hub = self._hubs.get(netns)
        if hub is not None and all(d.device in hub.devices for d in these):
            return hub
        hub = self._hubs[netns] = _Hub()
        for body in netlink.dump(*messages.get_links(), netns):
            device = messages.parse_link(body)
            hub.devices[device.name] = device.index
        seen = _qdiscs(netlink, netns)
        mine = {one.index for one in seen if one.kind == "drr"}
        for index in mine:
            classes = netlink.dump(*tc.get_classes(index), netns)
            seen += [tc.parse(tc.RTM_NEWTCLASS, body) for body in classes]
        hub.have = medium.known(seen)
        places = [(one.index, side) for one in seen if one.parent == tc.INGRESS for side in _SIDES]
        places += [(one.index, one.handle) for one in seen if one.kind == "htb"]
        for index, parent in places:
            found = netlink.dump(*filters.ask(index, parent), netns)
            hub.have |= medium.known_filters(f for body in found if (f := filters.parse(body)))
        return hub

    def _agrees(self, hub: _Hub, direction: Direction) -> bool:
        spec = self.members[direction]
        pair = [hub.devices.get(name, 0) for name in medium.devices(spec.medium or "")]
        if not all(pair) or direction.device not in hub.devices:
            return False
        found = self._sharing(direction).items()
        sharing = [_member(hub, d, s) for d, s in found if d.device in hub.devices]
        things = medium.things((pair[0], pair[1]), sharing)
        return all(
            hub.have.get(thing.key) == thing.value
            for thing in things
            if thing.whose in (None, direction)
        )

    def _leaf_key(self, hub: _Hub, direction: Direction) -> Key:
        named = self.members[direction].medium or ""
        into = hub.devices.get(medium.devices(named)[0], 0)
        if not into or direction.device not in hub.devices:
            return ()
        return medium.leaf_key((into, 0), _member(hub, direction, LinkSpec()).number)


def _member(hub: _Hub, direction: Direction, spec: LinkSpec) -> Member:
    uplink = direction.target_netns == direction.hub_netns
    device = direction.device
    inner = detour_device(device) if uplink else medium.entry_device(device)
    return Member(
        direction=direction,
        spec=spec,
        link=hub.devices[device],
        inner=hub.devices.get(inner, 0),
        uplink=uplink,
    )


def _qdiscs(netlink: Netlink, netns: str) -> list[tc.Seen]:
    bodies = netlink.dump(*tc.get_qdiscs(), netns)
    return [tc.parse(tc.RTM_NEWQDISC, body) for body in bodies]


def _pair(netlink: Netlink, hub: _Hub, named: str, target: str) -> tuple[int, int]:
    """A medium's devices, made if they aren't there."""
    into, out = medium.devices(named)
    if into not in hub.devices:
        request = tc.add_pair(into, out, "add a medium's devices")
        (answer,) = netlink.exchange([request])
        if answer.code:
            raise refused(request, answer, target, "netem")
        hub.devices |= {name: netlink.index_of(name) for name in (into, out)}
        netlink.exchange([messages.encode(BringUp(hub.devices[out], out))])
    return hub.devices[into], hub.devices[out]


def _send(
    netlink: Netlink, hub: _Hub, wanted: Iterable[Thing]
) -> dict[Direction | None, NetworkError]:
    """Send what differs; what the kernel then has is taken from its answers."""
    todo = list(medium.requests(hub.have, wanted))
    failed: dict[Direction | None, NetworkError] = {}
    answers = netlink.exchange([request for _, request in todo])
    for (thing, request), answer in zip(todo, answers, strict=True):
        if answer.code:
            error = refused(request, answer, str(thing.whose or "the medium"), "netem")
            failed.setdefault(thing.whose, error)
            continue
        hub.have[thing.key] = _then(request, thing, answer.echo)
        if hub.have[thing.key] != thing.value:
            why = "the kernel has something else than it was told"
            failed.setdefault(thing.whose, NetworkError("netem", "read back", "medium", why))
    return failed


def _then(request: Request, thing: Thing, echo: tuple[int, bytes] | None) -> object:
    if echo is None or echo[0] not in (tc.RTM_NEWQDISC, tc.RTM_NEWTCLASS):
        return thing.value
    return medium.known([tc.parse(*echo)]).get(thing.key)


def _error(direction: Direction, why: str) -> NetworkError:
    return NetworkError("netem", "share the medium", str(direction), why)


def _explained(exc: Exception, netns: str) -> NetworkError:
    if isinstance(exc, NetworkError):
        return exc
    return NetworkError("netem", "share the medium", netns, str(exc))
