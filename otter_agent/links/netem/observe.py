"""What is there: devices and qdiscs of directions, read from the kernel a namespace at a time.

Must not know: what is asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from otter_agent.errors import NetworkError
from otter_agent.links.base import Direction
from otter_agent.links.netem import place as places
from otter_agent.links.netem import tc
from otter_agent.links.netem.place import Place
from otter_agent.links.netem.sockets import Sockets
from otter_agent.network import messages
from otter_agent.network.netlink import Netlink, refused
from otter_agent.network.operations import DeleteDevice
from otter_agent.network.state import Device


@dataclass(slots=True)
class View:
    """A namespace.

    Attributes:
        arrived: What devices counted of what came in, where that was asked for.
        qdiscs: By index of their device; classes and filters of devices of ours among them.
    """

    devices: dict[str, Device] = field(default_factory=dict)
    arrived: dict[str, tuple[int, int]] = field(default_factory=dict)
    qdiscs: defaultdict[int, list[tc.Seen]] = field(default_factory=lambda: defaultdict(list))


class Observer:
    """Reads, and adds the devices that queues of what comes in need."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    def observe(
        self, directions: Iterable[Direction], *, counting: bool = False
    ) -> tuple[dict[Direction, Place], dict[Direction, NetworkError]]:
        """Where directions are; and why some of them can't be said to be anywhere.

        Args:
            directions: Which.
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
            place = _place(direction, views[direction.source_netns], views[direction.target_netns])
            if isinstance(place, NetworkError):
                failed[direction] = place
            else:
                found[direction] = place
        return found, failed

    def add_detours(self, bare: dict[Direction, Place]) -> dict[Direction, NetworkError]:
        """Make the devices; their indices go into `bare`. Says which couldn't be made, and why."""
        failed: dict[Direction, NetworkError] = {}
        per: defaultdict[str, list[Direction]] = defaultdict(list)
        for direction in bare:
            per[direction.target_netns].append(direction)
        for netns, these in per.items():
            requests = [
                tc.add_detour_device(
                    places.detour_device(d.device), "add a queue for what comes in (ifb)"
                )
                for d in these
            ]
            try:
                with self._sockets.of(netns) as netlink:
                    answers = netlink.exchange(requests)
                    for d, request, answer in zip(these, requests, answers, strict=True):
                        index = netlink.index_of(places.detour_device(d.device))
                        if answer.code or not index:
                            failed[d] = refused(request, answer, str(d), "netem")
                        else:
                            bare[d].detour = index
            except (NetworkError, OSError) as exc:
                failed |= {d: _explained(exc, netns, d) for d in these}
        return failed

    def drop_detour(self, direction: Direction) -> None:
        """Delete the device of a link that is about to go; what is gone already is fine."""
        name = places.detour_device(direction.device)
        with suppress(NetworkError, OSError), self._sockets.of(direction.target_netns) as netlink:
            device = _look(netlink, direction.target_netns, (), counting=False).devices.get(name)
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
            filters = netlink.dump(*tc.get_filters(here.index), netns)
            there += [one for body in filters if (one := tc.parse_detour(body)) is not None]
    return view


def _place(
    direction: Direction, source: View | NetworkError, target: View | NetworkError
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
    name = places.detour_device(direction.device)
    detour = target.devices.get(name)
    if detour is not None and detour.kind != "ifb":
        why = f"device {name} at {direction.target} is somebody else's ({detour.kind})"
        return _error(direction, why)
    place = Place(
        source=out.index,
        target=in_.index,
        detour=detour.index if detour else 0,
        arrived=target.arrived.get(direction.device, (0, 0)),
    )
    for host, device, view, netns in (
        (direction.source, out, source, direction.source_netns),
        (direction.target, detour, target, direction.target_netns),
    ):
        if device is None:
            continue
        what = places.foreign(view.qdiscs[device.index], device.index)
        if what:
            why = f"device {device.name} at {host} has somebody else's qdisc ({what})"
            hint = f"remove it: tc -n {netns} qdisc del dev {device.name} root"
            return _error(direction, why, hint)
    for seen in source.qdiscs[place.source]:
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
