"""Dropping namespaces, and knowing when their devices are really gone.

The kernel takes a namespace apart later, on one work queue, in batches, in the order in which they
lost their last user. So two things together show that the devices are gone:

1. Every namespace was given a number (nsid) in a nameless watching namespace: the kernel says
   RTM_DELNSID there when it begins to take that one apart.
2. A sentinel (one more nameless namespace, with one end of a veth pair; the other end is in the
   watching one) loses its last user after all others. When its device goes (RTM_DELLINK), all that
   were queued before are taken apart too: same batch or an earlier one.

Source: net/core/net_namespace.c (cleanup_net), net/core/dev.c (default_device_exit_batch).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from otter_agent.errors import NetworkError
from otter_agent.network import messages, namespaces, operations
from otter_agent.network.netlink import Netlink

_RTNLGRP_LINK, _RTNLGRP_NSID = 1, 28
_HELD_GRACE_S = 2.0
"""How long a namespace may be in use by something else before that is an error. Sockets that were
just closed let go within milliseconds."""
_LIMIT_S = 30.0
_FIRST_NSID = 1000
"""Above those that the kernel gives by itself to the sentinels."""


def destroy(names: Sequence[str], target: str, dropped: Callable[[], None]) -> None:
    """Drop named namespaces; return when no device of theirs exists any more.

    Runs in a thread of its own (`namespaces.in_own_thread`).

    Args:
        names: Files of /run/netns, with a namespace behind them or not.
        target: The mesh, for errors.
        dropped: Called after each one.

    Raises:
        NetworkError: A process still uses one of them. All names are gone even so.
    """
    try:
        namespaces.unshare()
        watcher = namespaces.open_own()
        try:
            with Netlink() as netlink, Netlink() as events:
                events.subscribe(_RTNLGRP_LINK, _RTNLGRP_NSID)
                _Teardown(netlink, events, watcher, target).run(names, dropped)
        finally:
            os.close(watcher)
    except OSError as exc:
        raise namespaces.failed("remove the namespaces", target, exc) from exc


class _Teardown:
    """One teardown, in its watching namespace."""

    def __init__(self, netlink: Netlink, events: Netlink, watcher: int, target: str) -> None:
        self._netlink = netlink
        self._events = events
        self._watcher = watcher
        self._target = target
        self._alive: dict[int, tuple[str, int]] = {}
        self._sentinels = 0
        self._gone: set[str] = set()

    def run(self, names: Sequence[str], dropped: Callable[[], None]) -> None:
        sentinel = self._sentinel()
        try:
            for name in names:
                self._watch(name)
            for name in names:
                namespaces.drop(name)
                dropped()
        finally:
            os.close(sentinel)
        begin = time.monotonic()
        self._wait_for_device(begin + _LIMIT_S)
        if not self._alive:
            return
        # Something held one for longer than our sentinel: once more, after the last has gone.
        while self._alive and self._read(begin + _HELD_GRACE_S):
            pass
        os.close(self._sentinel())
        self._wait_for_device(time.monotonic() + _LIMIT_S)
        self._report_held()

    def _watch(self, name: str) -> None:
        """Number one namespace, if there is one behind the name."""
        try:
            with namespaces.opened(name) as descriptor:
                number = _FIRST_NSID + len(self._alive)
                request = messages.assign_nsid(descriptor, number)
                self._netlink.send([request], self._target)
                self._alive[number] = name, namespaces.inode(descriptor)
        except FileNotFoundError:
            return
        except NetworkError as exc:
            if exc.errno != errno.EINVAL:  # a file without a mount: nothing to wait for
                raise

    def _sentinel(self) -> int:
        """A namespace whose only user is the descriptor returned, with a device to watch."""
        self._sentinels += 1
        device = f"s{self._sentinels}"
        namespaces.unshare()
        descriptor = namespaces.open_own()
        namespaces.join(self._watcher)
        mac = b"\x02\0\0\0\0\1"
        pair = operations.AddPair(device, 0, mac, "", device, 0)
        self._netlink.send([messages.encode(pair, descriptor)], self._target)
        return descriptor

    def _wait_for_device(self, deadline: float) -> None:
        """Wait until the newest sentinel's device is gone and its batch through."""
        while f"s{self._sentinels}" not in self._gone:
            if not self._read(deadline):
                why = "the kernel is still taking the namespaces apart"
                raise NetworkError("network", "remove", self._target, why, recoverable=True)
        # The event is sent before the batch is through; a change has to wait for its end.
        self._netlink.send(
            [messages.encode(operations.BringUp(operations.LOOPBACK, "lo"))], self._target
        )

    def _read(self, deadline: float) -> bool:
        """Take in some events; False when the deadline has passed."""
        events = self._events.events(deadline)
        for kind, body in events:
            if kind == messages.RTM_DELNSID:
                self._alive.pop(messages.parse_nsid(body), None)
            elif kind == messages.RTM_DELLINK:
                self._gone.add(messages.parse_link(body).name)
        return bool(events)

    def _report_held(self) -> None:
        """Raise if processes are in namespaces that should be gone."""
        held = {number: name for name, number in self._alive.values()}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                name = held.get(os.stat(entry / "ns/net").st_ino)
                if name:
                    command = (entry / "comm").read_text().strip()
                    why = f"process {entry.name} ({command}) runs in {name}"
                    hint = "end it: the namespace goes with it"
                    raise NetworkError("network", "remove", self._target, why, hint=hint)
