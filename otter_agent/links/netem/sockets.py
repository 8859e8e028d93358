"""Netlink sockets of namespaces, kept open: a socket stays in the namespace where it was opened.

So a change costs no thread that enters a namespace. There are never more than a bounded number; a
namespace that was dropped and made anew under its name gets a new one. Must not know: links.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from otter_agent.network import namespaces
from otter_agent.network.netlink import Netlink

KEPT = 512


class Sockets:
    """At most `kept` sockets, those used last; each is used by one thread at a time."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._guard = threading.Lock()
        self._open: OrderedDict[str, tuple[int, Netlink]] = OrderedDict()

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
            yield found[1]
        except BaseException:
            found[1].close()  # answers may still come: not to be mistaken for others'
            raise
        self._give_back(netns, found)

    def close(self, netns: str | None = None) -> None:
        """Let go of a namespace, which may end then; None: of all."""
        with self._guard:
            for name in [*self._open] if netns is None else [netns]:
                found = self._open.pop(name, None)
                if found is not None:
                    found[1].close()

    def _take(self, netns: str) -> tuple[int, Netlink]:
        inode = os.stat(namespaces.NETNS_DIR / netns).st_ino
        with self._guard:
            found = self._open.pop(netns, None)
        if found is not None:
            if found[0] == inode:
                return found
            found[1].close()
        return inode, namespaces.in_own_thread(lambda: _opened(netns))

    def _give_back(self, netns: str, found: tuple[int, Netlink]) -> None:
        with self._guard:
            self._open[netns] = found
            surplus = [self._open.popitem(last=False) for _ in range(len(self._open) - self._kept)]
        for _, (_, netlink) in surplus:
            netlink.close()


def _opened(netns: str) -> Netlink:
    namespaces.enter(netns)
    return Netlink()
