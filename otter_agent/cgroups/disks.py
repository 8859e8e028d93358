"""Which disks a machine's files are on, and the limits of control groups for them.

    /proc/self/mountinfo ──► whole disks, `254:0` ──► io.max (v2), blkio.throttle.* (v1)

Limits are of whole disks: of a partition it is the disk's, and of a loop device whose file is on
a disk that one's, which its traffic is counted for. Must not know: groups.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from otter_agent.api import DISKS, Budget

KEYS = dict(zip(DISKS, ("rbps", "wbps", "riops", "wiops"), strict=True))
"""Field of `Budget` -> its name in io.max. Source: cgroup-v2.rst, "IO Interface Files"."""
THROTTLES = {
    "read_bytes_per_s": "read_bps_device", "write_bytes_per_s": "write_bps_device",
    "read_iops": "read_iops_device", "write_iops": "write_iops_device",
}  # fmt: skip
"""Field -> what blkio.throttle calls it. Source: cgroup-v1/blkio-controller.rst."""
_ESCAPED = re.compile(r"\\([0-7]{3})")
_LOOP = 7
_READ_ONLY = frozenset({"squashfs", "iso9660", "erofs"})
"""Packages and media: a desktop has dozens, each on a loop device of its own."""


def disks(sys: Path = Path("/sys"), mountinfo: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """The whole disks that file systems are mounted from, each once, as `MAJOR:MINOR`."""
    found: dict[str, None] = {}
    for line in mountinfo.read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, source = after.split()[:2]
        if kind in _READ_ONLY:
            continue
        device = before.split()[2]
        if device.startswith("0:"):  # btrfs, overlays: a device of no disk; it says from which
            device = _device(_ESCAPED.sub(lambda m: chr(int(m[1], 8)), source))
        if device and (whole := _whole(device, sys)):
            found[whole] = None
    return list(found)


def _device(path: str) -> str:
    """Of a device file; "" of all else."""
    if path.startswith("/dev/"):
        with suppress(OSError):
            told = os.stat(path)
            if stat.S_ISBLK(told.st_mode):
                return f"{os.major(told.st_rdev)}:{os.minor(told.st_rdev)}"
    return ""


def _whole(device: str, sys: Path) -> str:
    """The disk of a partition, or itself; "" if that isn't a disk, or is one by way of another."""
    folder = sys / "dev" / "block" / device
    with suppress(OSError):
        if (folder / "partition").exists():
            return (folder.resolve().parent / "dev").read_text().strip()
        if device.startswith(f"{_LOOP}:") and _on_disk(folder):
            return ""
        return device if folder.exists() else ""
    return ""


def _on_disk(loop: Path) -> bool:
    """Whether the file of a loop device is on a disk of its own."""
    try:
        backing = (loop / "loop" / "backing_file").read_text().strip()
        return os.major(os.stat(backing).st_dev) != 0
    except OSError:
        return False


def io_max(disk: str, budget: Budget) -> str:
    """A line of io.max: all four limits."""
    values = ((key, getattr(budget, field)) for field, key in KEYS.items())
    words = (f"{key}={'max' if value is None else value}" for key, value in values)
    return " ".join((disk, *words))


def parse_io_max(text: str) -> dict[str, int]:
    """Field of `Budget` -> its limit, the least of all disks; of what isn't limited nothing."""
    found: dict[str, int] = {}
    names = {key: field for field, key in KEYS.items()}
    for line in text.splitlines():
        pairs = (word.partition("=") for word in line.split()[1:])
        _least(found, {names[k]: int(v) for k, _, v in pairs if k in names and v != "max"})
    return found


def parse_throttles(texts: Mapping[str, str]) -> dict[str, int]:
    """The same from v1's files: field -> content, a line `MAJOR:MINOR LIMIT` for each disk."""
    found: dict[str, int] = {}
    for field, text in texts.items():
        for line in text.splitlines():
            words = line.split()
            if len(words) == 2:
                _least(found, {field: int(words[1])})
    return found


def _least(found: dict[str, int], others: Mapping[str, int]) -> None:
    for field, value in others.items():
        found[field] = min(value, found.get(field, value))


def limited(text: str) -> Iterable[str]:
    """The disks of which a file of limits has a line."""
    return [line.split()[0] for line in text.splitlines() if line.strip()]
