"""What modules reach beyond the mesh, and what reaches them: mounts, volumes, published ports.

Must not know: TOML, positions, what a machine allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from otter_ctl.topology.model import LOCAL, Host, Module, Mount, Publish
from otter_ctl.topology.reader import Fields, did_you_mean, shown

_EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared with, not bound to


def read_mounts(written: Mapping[str, Fields]) -> tuple[Mount, ...]:
    """Mounts and volumes, by where they show; exactly one of `from` and `volume` each."""
    mounts = []
    for target, own in written.items():
        if "from" in own.given and "volume" in own.given:
            own.place.child("volume").report("goes not together with `from`")
        elif not own.given & {"from", "volume"}:
            own.place.report("missing key `from` or `volume`")
        source, volume = own.get("from"), own.get("volume")
        readonly = own.get("readonly", volume is None)
        mounts.append(Mount(target=target, source=source, volume=volume, readonly=readonly))
    return tuple(mounts)


def read_publish(written: Sequence[Fields]) -> tuple[Publish, ...]:
    """Published ports."""
    return tuple(
        Publish(
            port=own["port"],
            listen_port=own.get("as", own["port"]),
            at=own.get("at"),
            listen=own.get("listen", "127.0.0.1"),
            protocol=own.get("protocol", "tcp"),
        )
        for own in written
        if "port" in own
    )


class Published:
    """Which module has which port of a machine: no port has two."""

    def __init__(self, hosts: Mapping[str, Host] | None) -> None:
        self._hosts = hosts
        self._taken: dict[tuple[str, str, int], dict[str, str]] = {}
        """(machine, protocol, port) -> address it listens at -> module."""

    def add(self, module: Module, own: Fields) -> None:
        """Reports hosts that there aren't, and ports that are taken."""
        place = own.place.child("publish")
        for port in module.publish:
            at = port.at or module.host
            if self._hosts is not None and at is not None and at not in self._hosts:
                place.report(f"unknown host {shown(at)}{did_you_mean(at, self._hosts, place)}")
                continue
            host = self._hosts.get(at) if self._hosts is not None and at is not None else None
            # Where several machines may carry it, the plan can't know better than the same one.
            machine = (host.machine if host is not None else None) or LOCAL
            others = self._taken.setdefault((machine, port.protocol, port.listen_port), {})
            first = others.get(port.listen) or others.get(_EVERYWHERE)
            if first is None and port.listen == _EVERYWHERE:
                first = next(iter(others.values()), None)
            if first is not None:
                what = f"{port.protocol} port {port.listen_port}"
                hint = "give each its own port with `as`"
                place.report(f"{what} is published by module {shown(first)} already", hint)
                return
            others[port.listen] = module.name
