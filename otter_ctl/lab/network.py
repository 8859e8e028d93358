"""A lab's cables: two bridges in the switch's network namespace, and what is plugged into them.

    this computer  otl-ID ── ctl ┐                    ┌ m1 ── eth0  lab1  eth1 ── d1 ┐
                                 ├─ management ───────┼ m2 ── eth0  lab2  eth1 ── d2 ┼─ data
                                 ┘   (bridge)         └ …                          … ┘ (bridge)

The switch has a namespace of its own since Docker sets this computer's FORWARD to DROP and bridges
obey that. Nothing here leads beyond this computer: machines have no default route, and the one
address of this computer's end has the scope of its link.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network

from otter_ctl.lab import pool
from otter_ctl.lab.errors import LabError
from otter_ctl.lab.folder import Kept, Memory

CHOOSING = "/run/otter-lab.lock"
"""Root's alone: what others can open they could hold for ever."""
CABLES = ("management", "data")
_PORTS = {"management": "m", "data": "d"}
_DEVICES = {"management": "eth0", "data": "eth1"}


def own_device(lab_id: str) -> str:
    """This computer's end of the cable to the switch."""
    return f"otl-{lab_id}"


def port(cable: str, machine: Kept) -> str:
    """The switch's end of a machine's cable."""
    return f"{_PORTS[cable]}{machine.number}"


def taken() -> list[IPv4Network]:
    """All that this computer has a route to, in any table."""
    done = _run(["ip", "-json", "-4", "route", "show", "table", "all"])
    routes = (route["dst"] for route in json.loads(done or "[]"))
    return [IPv4Network(dst, strict=False) for dst in routes if dst != "default"]


@contextmanager
def choosing() -> Iterator[None]:
    """One lab of this computer at a time looks for networks and takes them."""
    import fcntl  # of Unix alone; this module may be imported anywhere

    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(CHOOSING, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_bridges() -> None:
    """In the caller's namespace, the switch's."""
    lines = ["link set lo up"]
    for cable in CABLES:
        lines.append(f"link add {cable} type bridge forward_delay 0 stp_state 0")
        lines.append(f"link set {cable} up")
    _batch(lines)


def plug_controller(memory: Memory, switch: int) -> None:
    """The cable between this computer and the switch; one that is there stays."""
    device = own_device(memory.id)
    if device in devices():
        return
    network, _ = memory.networks
    _batch([f"link add {device} type veth peer name ctl netns {switch}"])
    _batch(["link set ctl master management", "link set ctl up"], switch)
    address = f"{pool.controllers(network)}/{network.prefixlen}"
    _batch([f"address add {address} dev {device} scope link", f"link set {device} up"])


def unplug_controller(lab_id: str) -> None:
    """The other end goes with it; or it with the other, when the switch has ended."""
    device = own_device(lab_id)
    try:
        if device in devices():
            _batch([f"link del {device}"])
    except LabError:
        if device in devices():
            raise


def plug(memory: Memory, machine: Kept, pid: int, switch: int) -> None:
    """A machine's two cables, and its addresses."""
    _unplug({port(cable, machine) for cable in CABLES}, switch)
    add, own, ports = [], ["link set lo up"], []
    for cable, network in zip(CABLES, memory.networks, strict=True):
        device, at = _DEVICES[cable], port(cable, machine)
        address = f"{pool.address_of(network, machine.number)}/{network.prefixlen}"
        add.append(
            f"link add {device} address {_hardware(memory, cable, machine)} netns {pid}"
            f" type veth peer name {at} netns {switch}"
        )
        own += [f"address add {address} dev {device}", f"link set {device} up"]
        bridge = shaped(machine) if cable == "management" and machine.management else cable
        ports.append(f"link set {at} master {bridge}")
        if cable not in machine.cut:
            ports.append(f"link set {at} up")
    _batch(add)
    _batch(own, pid)
    _batch(ports, switch)


def _unplug(names: set[str], switch: int) -> None:
    """What an earlier life left: the kernel takes the namespaces of the dead apart later."""
    for name in names & devices(switch):
        try:
            _batch([f"link del {name}"], switch)
        except LabError:
            if name in devices(switch):
                raise


def shaped(machine: Kept) -> str:
    """The bridge between a machine and what makes its management scarce."""
    return f"w{machine.number}"


def plug_shaper(machine: Kept, switch: int) -> None:
    """The shaper's two devices, made already: one to the machine, one to the controller."""
    own, number = shaped(machine), machine.number
    _unplug({own}, switch)
    _batch(
        [
            f"link add {own} type bridge forward_delay 0 stp_state 0",
            f"link set a{number} master {own} up",
            f"link set b{number} master management up",
            f"link set {own} up",
        ],
        switch,
    )


def _hardware(memory: Memory, cable: str, machine: Kept) -> str:
    """The same after a power cut: others remember it for half a minute."""
    number = f"{machine.number:04x}"
    own = memory.id
    first = {"management": "02", "data": "06"}[cable]
    return ":".join([first, own[:2], own[2:4], own[4:], number[:2], number[2:]])


def pull(machine: Kept, cables: Iterable[str], switch: int, *, up: bool) -> None:
    """Pull cables of a machine out of the switch, or plug them in again."""
    word = "up" if up else "down"
    _batch([f"link set {port(cable, machine)} {word}" for cable in cables], switch)


def devices(pid: int | None = None) -> set[str]:
    """Names of a namespace's devices; None: this computer's own."""
    done = _run([*_inside(pid), "ip", "-json", "link", "show"])
    return {link["ifname"] for link in json.loads(done or "[]")}


def _inside(pid: int | None) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []


def _batch(lines: Sequence[str], pid: int | None = None) -> None:
    _run([*_inside(pid), "ip", "-batch", "-"], "\n".join(lines) + "\n")


def _run(argv: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        hint = "apt-get install iproute2 util-linux"
        raise LabError(f"{error.filename} is not installed", hint=hint) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        why = said[0] if said else f"exit status {done.returncode}"
        raise LabError(f"{' '.join(argv)}: {why}", hint="a lab needs root (sudo)")
    return done.stdout
