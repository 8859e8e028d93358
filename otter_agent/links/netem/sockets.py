"""Netlink sockets in namespaces, kept open: a socket stays in the namespace where it was opened.

So a change costs no thread that enters a namespace. Beside each is one that hears of devices that
come and go: what was known of them holds until then. There are never more than a bounded number; a
namespace that was dropped and made anew under its name gets new ones. Must not know: links.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from otter_agent.network import namespaces
from otter_agent.network.netlink import Netlink

KEPT = 256
_GROUP_LINK = 1  # RTNLGRP_LINK


class _Pair(NamedTuple):
    """Of one namespace, which `inode` identifies."""

    inode: int
    netlink: Netlink
    events: Netlink

    def close(self) -> None:
        self.netlink.close()
        self.events.close()


class Sockets:
    """Those of at most `kept` namespaces, used last; each is used by one thread at a time.

    Args:
        moved: Told the name of a namespace in which devices may be others than before.
        kept: How many.
    """

    def __init__(self, moved: Callable[[str], None], kept: int = KEPT) -> None:
        self._moved = moved
        self._kept = kept
        self._guard = threading.Lock()
        self._open: OrderedDict[str, _Pair] = OrderedDict()
        self._fresh: set[str] = set()

    @contextmanager
    def of(self, netns: str) -> Iterator[Netlink]:
        """The socket in a named namespace.

        Raises:
            NetworkError: There is no such namespace.
        """
        try:
            found = self._take(netns)
        except OSError as exc:
            raise namespaces.failed("enter the namespace", netns, exc) from exc
        try:
            yield found.netlink
        except BaseException:
            found.close()  # answers may still come: not to be mistaken for others'
            raise
        self._give_back(netns, found)

    def look(self, netns: str) -> None:
        """Tell `moved` if devices may be others than when it was last asked; costs some µs."""
        try:
            found = self._take(netns)
        except OSError:
            self._moved(netns)
            return
        if found.events.pending() or netns in self._fresh:
            self._fresh.discard(netns)
            self._moved(netns)
        self._give_back(netns, found)

    def inode(self, netns: str) -> int:
        """What tells a namespace from others that had its name; 0: there is none."""
        try:
            return os.stat(f"{namespaces.NETNS_DIR}/{netns}").st_ino
        except OSError:
            return 0

    def close(self, netns: str | None = None) -> None:
        """Let go of a namespace, which may end then; None: of all."""
        with self._guard:
            for name in [*self._open] if netns is None else [netns]:
                self._fresh.discard(name)
                found = self._open.pop(name, None)
                if found is not None:
                    found.close()

    def _take(self, netns: str) -> _Pair:
        inode = os.stat(f"{namespaces.NETNS_DIR}/{netns}").st_ino
        with self._guard:
            found = self._open.pop(netns, None)
        if found is not None and found.inode == inode:
            return found
        if found is not None:
            found.close()
        self._fresh.add(netns)
        return _Pair(inode, *namespaces.in_own_thread(lambda: _opened(netns)))

    def _give_back(self, netns: str, found: _Pair) -> None:
        with self._guard:
            self._open[netns] = found
            surplus = [self._open.popitem(last=False) for _ in range(len(self._open) - self._kept)]
        for _, pair in surplus:
            pair.close()


def _opened(netns: str) -> tuple[Netlink, Netlink]:
    namespaces.enter(netns)
    events = Netlink()
    events.subscribe(_GROUP_LINK)
    return Netlink(), events
