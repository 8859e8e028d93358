"""What this machine has: parts of its kernel, accelerators, its engine. Changes nothing.

Each part of the kernel is tried in a nameless namespace that ends at once. Must not know: meshes,
what is made of the answers.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from otter_agent import api
from otter_agent.errors import NetworkError
from otter_agent.links.netem import tc
from otter_agent.links.netem.options import Htb, Netem
from otter_agent.network import messages, namespaces
from otter_agent.network.messages import Request
from otter_agent.network.netlink import Netlink

_LOOPBACK = 1
"""Index of `lo` in every namespace."""
_HANDLE = 0x10000
_NETFILTER, _GET_GENERATION, _NEW_GENERATION = 12, 0x0A10, 0x0A0F
"""NETLINK_NETFILTER; NFT_MSG_GETGEN and NEWGEN of nf_tables (linux/netfilter/nf_tables.h)."""
_REQUEST = 1
_GIVEN_UP_S = 1.0
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_NVIDIA_INFORMATION = "proc/driver/nvidia/gpus"
_JETSON_RELEASE = "etc/nv_tegra_release"
_DEVICES = (
    ("nvidia", "dev/nvidia[0-9]*"),
    ("jetson", "dev/nvhost-gpu"),
    ("jetson", "dev/nvgpu/igpu[0-9]*"),
    ("amd", "dev/kfd"),
    ("coral", "dev/apex_*"),
    ("hailo", "dev/hailo*"),
    ("render", "dev/dri/renderD*"),
)
"""Of a kind with two patterns the first counts that fits: with JetPack 6 a GPU may have both."""
_FOLDERS = "dev", "dev/dri", "dev/nvgpu"
_BEGIN = tuple(re.split(r"[\[*]", pattern.rpartition("/")[2])[0] for _, pattern in _DEVICES)


def features(known: Mapping[str, str], cgroup: str, cgroup_why: str) -> tuple[api.Feature, ...]:
    """Parts of the kernel, whether they can be used here, and why not.

    Args:
        known: What was found out already: part -> why not; empty: it can be.
        cgroup: Version, or `none`.
        cgroup_why: Why there is none.
    """
    found = dict(known)
    for name, work in _WORK.items():
        if name not in found:
            found[name] = _why_not(work)
    found["tun"] = _tun()
    found["cgroup"] = "" if cgroup != "none" else cgroup_why or "none"
    details = {"cgroup": cgroup}
    return tuple(
        api.Feature(name=name, usable=not why, detail=why or details.get(name, ""))
        for name, why in sorted(found.items())
    )


def devices(root: Path = Path("/")) -> tuple[api.Accelerator, ...]:
    """Devices that compute beside the processors, as their drivers show them.

    Args:
        root: Where `/dev` and `/proc` are.
    """
    return tuple(_found(root))


def congestion() -> str:
    """TCP's congestion control, which new namespaces get; empty: it can't be told."""
    try:
        return _CONGESTION.read_text().strip()
    except OSError:
        return ""


def _found(root: Path) -> Iterator[api.Accelerator]:
    names, seen = _nvidia_names(root), set[str]()
    there = [path for folder in _FOLDERS for path in _likely(root / folder)]
    for kind, pattern in _DEVICES:
        paths = [path for path in there if path.match(pattern) and kind not in seen]
        if paths:
            seen.add(kind)
        for number, path in enumerate(sorted(paths, key=_by_number)):
            name = names.get(number, "") if kind == "nvidia" else ""
            name = _jetson_name(root) if kind == "jetson" else name
            yield api.Accelerator(kind=kind, device=f"/{path.relative_to(root)}", name=name)


def _likely(folder: Path) -> list[Path]:
    """What may be one of them; each status tells of devices, and globs read /dev six times."""
    try:
        return [folder / name for name in os.listdir(folder) if name.startswith(_BEGIN)]
    except OSError:
        return []


def _by_number(path: Path) -> tuple[str, int]:
    digits = re.search(r"[0-9]+$", path.name)
    return path.name.rstrip("0123456789"), int(digits.group()) if digits else -1


def _nvidia_names(root: Path) -> dict[int, str]:
    """Minor number of the device -> what its maker calls it."""
    found = {}
    for path in root.glob(f"{_NVIDIA_INFORMATION}/*/information"):
        told = dict(line.split(":", 1) for line in _text(path).splitlines() if ":" in line)
        minor = told.get("Device Minor", "").strip()
        if minor.isdecimal():
            found[int(minor)] = told.get("Model", "").strip()
    return found


def _jetson_name(root: Path) -> str:
    """Its board, and the release of its system, by which libraries are chosen."""
    board = _text(root / "proc/device-tree/model").rstrip("\0\n")
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / _JETSON_RELEASE))
    system = f"Jetson Linux {found[1]}.{found[2]}" if found else ""
    return ", ".join(filter(None, (board, system)))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _why_not(work: Callable[[], str]) -> str:
    try:
        return namespaces.in_own_thread(work)
    except (OSError, NetworkError) as error:
        return str(error)


def _answer(request: Request, missing: str) -> str:
    """What the kernel says to one request in a namespace of its own; empty: it did it."""
    namespaces.unshare()
    with Netlink() as netlink:
        (answer,) = netlink.exchange([request])
    if not answer.code:
        return ""
    return f"{missing}: {answer.words or os.strerror(answer.code)}"


def _htb() -> str:
    request = tc.put_qdisc(_LOOPBACK, _HANDLE, tc.ROOT, Htb(), "", new=True)
    return _answer(request, "the kernel has no sch_htb")


def _netem() -> str:
    netem = Netem(latency_ns=10**6)
    request = tc.put_qdisc(_LOOPBACK, _HANDLE, tc.ROOT, netem, "", new=True)
    return _answer(request, "the kernel has no sch_netem")


def _bridge() -> str:
    request = messages.add_device("probe", "bridge")
    return _answer(request, "the kernel makes no bridge")


def _nftables() -> str:
    """Ask which generation of rules there is: nothing is changed."""
    namespaces.unshare()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as sock:
        sock.settimeout(_GIVEN_UP_S)
        sock.send(struct.pack("=IHHII4s", 20, _GET_GENERATION, _REQUEST, 1, 0, b"\0\0\0\0"))
        _, kind = struct.unpack_from("=IH", sock.recv(4096))
    return "" if kind == _NEW_GENERATION else "the kernel has no nf_tables"


def _tun() -> str:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/net/tun: {(error.strerror or str(error)).lower()}"
    return ""


_WORK: Mapping[str, Callable[[], str]] = {
    "htb": _htb,
    "netem": _netem,
    "nftables": _nftables,
    "bridge": _bridge,
}
TRIED = (*_WORK, "vxlan")
"""Parts that need a namespace to be tried in."""
