"""What is there: devices and qdiscs of directions, read from the kernel a namespace at a time.

Must not know: what is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction
from otter_agent.links.netem import filters, medium, tc
from otter_agent.links.netem import place as places
from otter_agent.links.netem.place import Place
from otter_agent.links.netem.sockets import Sockets
from otter_agent.links.netem.tree import Apart
from otter_agent.network import messages
from otter_agent.network.netlink import Netlink, refused
from otter_agent.network.operations import DeleteDevice
from otter_agent.network.state import Device

_SIDES = {"detour": "target_netns", "source": "source_netns"}
_NAMES: Mapping[str, Callable[[str], str]] = {
    "detour": places.detour_device,
    "source": medium.entry_device,
}


@dataclass(slots=True)
class View:
    """A namespace.

    Attributes:
        arrived: What devices counted of what came in, where that was asked for.
        lost: And of what they let go in vain.
        qdiscs: By index of their device; classes of devices of ours among them.
        detours: Device -> where all goes that comes in by it.
    """

    devices: dict[str, Device] = field(default_factory=dict)
    arrived: dict[str, tuple[int, int]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    qdiscs: defaultdict[int, list[tc.Seen]] = field(default_factory=lambda: defaultdict(list))
    detours: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What some directions have let through so far, and what this machine lost of it.

    Attributes:
        packets: That came in.
        overruns: That were let go and not taken in, as the processor was too slow.
        no_room: That a delay had no room for.
    """

    packets: int
    overruns: int
    no_room: int


class Observer:
    """Reads, and adds the devices that queues of what comes in need."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    def observe(
        self,
        directions: Iterable[Direction],
        apart: Mapping[Direction, Apart],
        *,
        counting: bool = False,
    ) -> tuple[dict[Direction, Place], dict[Direction, NetworkError]]:
        """Where directions are; and why some of them can't be said to be anywhere.

        Args:
            directions: Which.
            apart: Of those whose queue is a medium's, who sends.
            counting: Read devices' counters, too.
        """
        wanted = list(directions)
        devices: defaultdict[str, set[str]] = defaultdict(set)
        for direction in wanted:
            devices[direction.source_netns].add(direction.device)
            devices[direction.target_netns].add(direction.device)
        views: dict[str, View | NetworkError] = {
            netns: self._view(netns, names, counting) for netns, names in devices.items()
        }
        found: dict[Direction, Place] = {}
        failed: dict[Direction, NetworkError] = {}
        for direction in wanted:
            ends = views[direction.source_netns], views[direction.target_netns]
            place = _place(direction, *ends, apart.get(direction, ""))
            if isinstance(place, NetworkError):
                failed[direction] = place
            else:
                found[direction] = place
        return found, failed

    def traffic(self, directions: Iterable[Direction]) -> Passed:
        """What passed, of those that are there: two questions a namespace."""
        leaving: defaultdict[str, set[str]] = defaultdict(set)
        coming: defaultdict[str, set[str]] = defaultdict(set)
        for direction in directions:
            leaving[direction.source_netns].add(direction.device)
            coming[direction.target_netns].add(direction.device)
        packets = overruns = no_room = 0
        for netns in leaving.keys() | coming.keys():
            with suppress(NetworkError, OSError), self._sockets.of(netns) as netlink:
                for body in netlink.dump(*tc.get_counted_links(), netns):
                    name = messages.parse_link(body).name
                    if name in coming[netns]:
                        packets += tc.parse_arrived(body)[0]
                    if name in leaving[netns]:
                        overruns += tc.parse_lost(body)
                for body in netlink.dump(*tc.get_qdiscs(), netns):
                    if tc.handle_of(body) == places.WIRE:
                        no_room += tc.parse(tc.RTM_NEWQDISC, body).stats.drops
        return Passed(packets=packets, overruns=overruns, no_room=no_room)

    def add_devices(
        self, bare: Mapping[Direction, Place], which: Literal["detour", "source"]
    ) -> dict[Direction, NetworkError]:
        """Make them; their indices go into `bare`. Says which couldn't be made, and why."""
        failed: dict[Direction, NetworkError] = {}
        per: defaultdict[str, list[Direction]] = defaultdict(list)
        for direction in bare:
            per[getattr(direction, _SIDES[which])].append(direction)
        for netns, these in per.items():
            names = [_NAMES[which](d.device) for d in these]
            requests = [tc.add_detour_device(name, "add a queue's device (ifb)") for name in names]
            try:
                with self._sockets.of(netns) as netlink:
                    answers = netlink.exchange(requests)
                    made = zip(these, names, requests, answers, strict=True)
                    for d, name, request, answer in made:
                        index = netlink.index_of(name)
                        if answer.code or not index:
                            failed[d] = refused(request, answer, str(d), "netem")
                        else:
                            setattr(bare[d], which, index)
            except (NetworkError, OSError) as exc:
                failed |= {d: _explained(exc, netns, d) for d in these}
        return failed

    def drop_detour(self, direction: Direction) -> None:
        """Delete the device of a link that is about to go; what is gone already is fine."""
        self._drop(direction.target_netns, places.detour_device(direction.device))

    def drop_entry(self, direction: Direction) -> None:
        """The same for the device on the way to a medium."""
        self._drop(direction.source_netns, medium.entry_device(direction.device))

    def _drop(self, netns: str, name: str) -> None:
        with suppress(NetworkError, OSError), self._sockets.of(netns) as netlink:
            device = _look(netlink, netns, (), counting=False).devices.get(name)
            if device is not None and device.kind == "ifb":
                netlink.exchange([messages.encode(DeleteDevice(device.index, name))])

    def _view(self, netns: str, devices: Iterable[str], counting: bool) -> View | NetworkError:
        try:
            with self._sockets.of(netns) as netlink:
                return _look(netlink, netns, devices, counting)
        except NetworkError as exc:
            return exc
        except OSError as exc:
            return _explained(exc, netns, netns)


def _look(netlink: Netlink, netns: str, devices: Iterable[str], counting: bool) -> View:
    view = View()
    links = tc.get_counted_links() if counting else messages.get_links()
    for body in netlink.dump(*links, netns):
        device = messages.parse_link(body)
        view.devices[device.name] = device
        if counting:
            view.arrived[device.name] = tc.parse_arrived(body)
            view.lost[device.name] = tc.parse_lost(body)
    for body in netlink.dump(*tc.get_qdiscs(), netns):
        seen = tc.parse(tc.RTM_NEWQDISC, body)
        view.qdiscs[seen.index].append(seen)
    for name in devices:
        here = view.devices.get(name)
        if here is None:
            continue
        there = view.qdiscs[here.index]
        if any(one.handle == places.SHARES for one in there):
            classes = netlink.dump(*tc.get_classes(here.index), netns)
            there += [tc.parse(tc.RTM_NEWTCLASS, body) for body in classes]
        if any(one.parent == tc.INGRESS for one in there):
            for body in netlink.dump(*filters.ask(here.index, filters.IN), netns):
                one = filters.parse(body)
                if one is not None and one[0].priority == filters.DETOUR:
                    view.detours[here.index] = one[1]
    return view


def _place(
    direction: Direction, source: View | NetworkError, target: View | NetworkError, apart: Apart
) -> Place | NetworkError:
    for view in (source, target):
        if isinstance(view, NetworkError):
            return _error(direction, str(view))
    assert isinstance(source, View)
    assert isinstance(target, View)
    out, in_ = source.devices.get(direction.device), target.devices.get(direction.device)
    if out is None or in_ is None:
        host = direction.source if out is None else direction.target
        return _error(direction, f"there is no device {direction.device} at {host}")
    detour = target.devices.get(places.detour_device(direction.device))
    entry = source.devices.get(medium.entry_device(direction.device)) if apart == "down" else out
    for device, host in ((detour, direction.target), (entry, direction.source)):
        if device not in (None, out) and device.kind != "ifb":
            why = f"device {device.name} at {host} is somebody else's ({device.kind})"
            return _error(direction, why)
    place = Place(
        source=entry.index if entry else 0,
        target=in_.index,
        apart=apart,
        filtered=detour is not None and target.detours.get(in_.index) == detour.index,
        detour=detour.index if detour else 0,
        arrived=target.arrived.get(direction.device, (0, 0)),
        lost=source.lost.get(direction.device, 0),
    )
    for host, device, view, netns in (
        (direction.source, out, source, direction.source_netns),
        (direction.source, entry, source, direction.source_netns),
        (direction.target, detour, target, direction.target_netns),
    ):
        if device is None:
            continue
        what = places.foreign(view.qdiscs[device.index], device.index)
        if what:
            why = f"device {device.name} at {host} has somebody else's qdisc ({what})"
            hint = f"remove it: tc -n {netns} qdisc del dev {device.name} root"
            return _error(direction, why, hint)
    for seen in source.qdiscs[place.source] if place.source else ():
        places.absorb(place, seen, "source")
    for index in (place.target, place.detour):
        for seen in target.qdiscs[index] if index else ():
            places.absorb(place, seen, "target")
    return place


def _error(direction: Direction, why: str, hint: str = "") -> NetworkError:
    return NetworkError("netem", "shape the link", str(direction), why, hint=hint)


def _explained(exc: Exception, netns: str, target: object) -> NetworkError:
    if isinstance(exc, NetworkError):
        return exc
    return NetworkError("netem", f"ask the kernel in {netns}", str(target), str(exc))
