"""Names of this machine's users."""

from __future__ import annotations

import functools
import pwd
from pathlib import Path


def user_name(uid: int | None) -> str:
    """`alice`; `uid 1234` for one without an entry; "" for nobody in particular."""
    if uid is None:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def machine_uid(uid: int) -> int:
    """The uid on the machine of who has `uid` here: in a user namespace those are not the same."""
    for inside, outside, count in _uid_map():
        if inside <= uid < inside + count:
            return outside + uid - inside
    return uid


@functools.cache
def _uid_map() -> tuple[tuple[int, int, int], ...]:
    """Of the namespace that this process stays in. Source: user_namespaces(7)."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    rows = [tuple(map(int, line.split())) for line in lines]
    return tuple((row[0], row[1], row[2]) for row in rows)
