"""The process that makes a machine's way to the controller scarce, as a satellite or 3G link is.

    machine ── m1 ┬ w1 ┬ a1 ═ Model, each way ═ b1 ┬ management ── controller
              (bridge)  (TAP)                 (TAP)  (bridge)

    python -m otter_ctl.lab.shaper FOLDER

It lives in the switch's network namespace and ends when it is killed; with it go its two devices.
The kernel hands a TAP device whole packets with their checksums, whatever their sender left to do.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time
from pathlib import Path
from typing import Any

from net.links.cell import NEVER
from net.links.chance import chances
from net.links.model import Model
from net.links.spec import LinkSpec
from net.units import UnitError
from otter_ctl.lab import cgroups, linux, processes
from otter_ctl.lab.errors import LabError

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_REQUEST = struct.Struct("=16sH22x")
_ETHERNET_BYTES = 14
_PACKET_BYTES = 1 << 16
_BATCH = 64
_LONGEST_S = 1.0
"""Between two looks at the clock."""


def spec_of(text: str) -> LinkSpec:
    """`rate=1mbit delay=300ms loss=5%` -> what is asked of each way.

    Raises:
        LabError: That makes no sense.
    """
    from otter_ctl.errors import TopologyErrors
    from otter_ctl.topology.properties import KEYS, key_of, read_text
    from otter_ctl.topology.reader import Bad

    values: dict[str, Any] = {}
    for word in text.replace(",", " ").split():
        key, equals, value = word.partition("=")
        if key not in KEYS or not equals:
            raise LabError(
                f"--management: {word!r} is no property", hint='such as "rate=1mbit delay=300ms"'
            )
        try:
            values |= read_text(key, value)
        except (Bad, UnitError, TopologyErrors, ValueError) as error:
            raise LabError(f"--management: {key}: {error}") from error
    spec = LinkSpec(**values)
    for field, why in spec.problems().items():
        raise LabError(f"--management: {key_of(field)} {why}")
    return spec


class Way:
    """One direction."""

    def __init__(self, source: int, target: int, spec: LinkSpec, name: str) -> None:
        self.source = source
        self._target = target
        self._model = Model(spec, chances(0, name), start=_ETHERNET_BYTES)

    def take_in(self, now: float) -> None:
        """Packets that wait at its source."""
        packets = []
        for _ in range(_BATCH):
            try:
                packets.append(os.read(self.source, _PACKET_BYTES))
            except BlockingIOError:
                break
        self._model.offer(packets, now)

    def let_go(self, now: float) -> float:
        """Packets whose time has come; returns when the next one's comes."""
        for _, packet in self._model.take(now):
            try:
                os.write(self._target, packet)
            except OSError:
                continue  # its device is down: lost, as on any cable
        return self._model.next_s


def carry(ways: list[Way]) -> None:
    """For ever."""
    by_source = {way.source: way for way in ways}
    while True:
        now = time.monotonic()
        due = min(way.let_go(now) for way in ways)
        pause = _LONGEST_S if due == NEVER else min(max(due - time.monotonic(), 0.0), _LONGEST_S)
        there, _, _ = select.select(list(by_source), [], [], pause)
        for source in there:
            by_source[source].take_in(time.monotonic())


def _tap(name: str) -> int:
    import fcntl  # of Unix alone; this module may be imported anywhere

    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, _REQUEST.pack(name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


def main(folder: Path) -> None:
    """Note itself, make the devices, say so, carry."""
    processes.note_own_pid(folder)
    cgroups.enter(os.environ["OTTER_LAB_GROUP"] + "/switch")
    switch, number, properties = (folder / "asked").read_text().splitlines()
    linux.join(f"/proc/{switch}/ns/net", linux.CLONE_NEWNET)
    ends = _tap(f"a{number}"), _tap(f"b{number}")
    sys.stdout.write(processes.READY.decode())
    sys.stdout.flush()
    if sys.stdin.readline():
        processes.release_lock()
        spec = spec_of(properties)
        carry([Way(*ends, spec, f"{number} up"), Way(*ends[::-1], spec, f"{number} down")])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
