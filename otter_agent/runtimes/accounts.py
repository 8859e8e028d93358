"""Who a name like `nobody` or `1000:audio` is on this machine. Reads the user database."""

from __future__ import annotations

import grp
import os
import pwd

from otter_agent.errors import ContainerError

Ids = tuple[int, int, list[int]]
"""User, group, further groups."""


def ids_of(user: str, target: str) -> Ids | None:
    """What to become for `NAME`, `UID`, `USER:GROUP`; None for "": nobody else.

    Args:
        user: As `docker exec --user` takes it.
        target: For errors.

    Raises:
        ContainerError: This machine knows no such user or group.
    """
    if not user:
        return None
    name, _, group = user.partition(":")
    number, own_group, groups = _user(name, target)
    if not group:
        return number, own_group, groups
    chosen = _group(group, target)
    return number, chosen, sorted({*groups, chosen} - {own_group})


def _user(name: str, target: str) -> Ids:
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError, ValueError):
        if name.isdecimal() and int(name) < 1 << 32:
            return int(name), 0, []  # as in a container: an id needs no entry
        raise _unknown("user", name, target) from None
    return entry.pw_uid, entry.pw_gid, sorted(os.getgrouplist(entry.pw_name, entry.pw_gid))


def _group(name: str, target: str) -> int:
    if name.isdecimal() and int(name) < 1 << 32:
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise _unknown("group", name, target) from None


def _unknown(kind: str, name: str, target: str) -> ContainerError:
    why = f"there is no {kind} {name!r}"
    hint = "a process module has the users of its machine: see /etc/passwd there"
    return ContainerError("process", "exec", target, why, hint=hint)
