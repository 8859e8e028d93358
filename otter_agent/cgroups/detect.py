"""Which cgroup version this machine has, from its mounts. Changes nothing.

On a hybrid machine the v2 tree is mounted too, without controllers; what counts is which tree has
cpu, memory and pids.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from otter_agent.cgroups.base import Cgroups
from otter_agent.cgroups.v1 import CgroupsV1
from otter_agent.cgroups.v2 import NEEDED, CgroupsV2
from otter_agent.errors import CgroupError

_HINT = "boot with the cpu, memory and pids controllers, and mount them at /sys/fs/cgroup"
_NO_MEMORY = (
    "boot with `cgroup_enable=memory cgroup_memory=1` (Raspberry Pi: at the end of the line in"
    " /boot/firmware/cmdline.txt, or /boot/cmdline.txt before Debian 12)"
)
"""A Raspberry Pi's firmware has the memory controller turned off."""


@dataclass(frozen=True, slots=True)
class Mounts:
    """Where cgroup trees are mounted.

    Attributes:
        controllers: v1 controller -> mount point.
        v1: Mount points of all v1 trees, also those without a controller.
        v2: Mount point of the v2 tree.
    """

    controllers: dict[str, Path] = field(default_factory=dict)
    v1: tuple[Path, ...] = ()
    v2: Path | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found.

    Attributes:
        version: The version that budgets use.
        detail: Why none can be used; else empty.
    """

    version: Literal["v1", "v2", "none"]
    detail: str = ""


def parse_mounts(mountinfo: str) -> Mounts:
    """Read /proc/self/mountinfo: the first mount of each tree. Source: proc(5)."""
    controllers: dict[str, Path] = {}
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()[0], None, after.split()[-1]
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), before.split()[4]))
        if kind == "cgroup2":
            v2 = v2 or point
        elif kind == "cgroup":
            names = [o for o in options.split(",") if o not in ("rw", "ro", "xattr")]
            v1.setdefault(",".join(names), point)
            for name in names:
                controllers.setdefault(name, point)
    return Mounts(controllers, tuple(v1.values()), v2)


def probe() -> Probe:
    """See the package."""
    try:
        mounts = _mounts()
        version = _version(mounts)
    except CgroupError as exc:
        return Probe("none", str(exc))
    used = mounts.controllers["cpu"] if version == "v1" else mounts.v2
    if os.geteuid() != 0 or used is None or os.statvfs(used).f_flag & os.ST_RDONLY:
        return Probe("none", f"cgroup {version} is not writable for this user: run as root")
    return Probe(version)


def open_detected(agent_id: str) -> Cgroups:
    """See the package."""
    mounts = _mounts()
    if _version(mounts) == "v1":
        others = [mounts.v2] if mounts.v2 else []
        return CgroupsV1(agent_id, mounts.controllers, [*mounts.v1, *others])
    assert mounts.v2 is not None
    return CgroupsV2(agent_id, mounts.v2, list(mounts.v1))


def _mounts() -> Mounts:
    try:
        return parse_mounts(Path("/proc/self/mountinfo").read_text())
    except OSError as exc:
        raise CgroupError("cgroups", "find", "this machine", str(exc)) from exc


def _version(mounts: Mounts) -> Literal["v1", "v2"]:
    missing_v1 = [c for c in NEEDED if c not in mounts.controllers]
    if not missing_v1:
        return "v1"
    if mounts.v2 is None:
        why = f"no cgroup v2 is mounted, and v1 lacks {', '.join(missing_v1)}"
        raise _lacking(why, missing_v1)
    has = (mounts.v2 / "cgroup.controllers").read_text().split()
    missing = [c for c in NEEDED if c not in has]
    if missing:
        why = f"cgroup v2 at {mounts.v2} lacks {', '.join(missing)}"
        if mounts.controllers:
            why += f" and v1 lacks {', '.join(missing_v1)}"
        raise _lacking(why, missing, missing_v1)
    return "v2"


def _lacking(why: str, *missing: list[str]) -> CgroupError:
    hint = _NO_MEMORY if ["memory"] in missing else _HINT
    return CgroupError("cgroups", "find", "this machine", why, hint=hint)
