"""Netlink sockets in the namespaces of directions that were lent.

Must not know: what is sent.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable

from otter_agent.links.netem.playing.agenda import Place
from otter_agent.links.talks import Loop
from otter_agent.network import namespaces
from otter_agent.network.netlink import Answer, Netlink

Heard = Callable[[list[tuple[int, Answer]]], None]
"""Takes what the kernel had to say."""


class Mail:
    """One socket per namespace: an open one keeps it alive.

    Args:
        loop: Waits for what the kernel has to say; None: nobody does.
        heard: Takes it.
    """

    def __init__(self, loop: Loop | None = None, heard: Heard = lambda answers: None) -> None:
        self._loop = loop
        self._heard = heard
        self._open: dict[Place, Netlink] = {}

    def open(self, places: Iterable[Place]) -> dict[Place, str]:
        """Have sockets there; why not, where there are none."""
        missing = [place for place in places if place not in self._open]
        if not missing:
            return {}
        made, failed = namespaces.in_own_thread(lambda: _opened(missing))
        for place, netlink in made.items():
            self._open[place] = netlink
            if self._loop is not None:
                self._loop.watch(netlink.fileno(), select.EPOLLIN, self._ear(netlink))
        return failed

    def _ear(self, netlink: Netlink) -> Callable[[int], None]:
        return lambda events: self._heard(netlink.said())

    def send(self, place: Place, data: bytes) -> None:
        """See `Netlink.push`. Raises `OSError`."""
        found = self._open.get(place)
        if found is None:
            raise OSError(f"no socket in {place[0]}")
        found.push(data)

    def keep(self, places: set[Place]) -> None:
        """Let go of all others."""
        for place in self._open.keys() - places:
            netlink = self._open.pop(place)
            if self._loop is not None:
                self._loop.unwatch(netlink.fileno())
            netlink.close()

    def close(self) -> None:
        """Let go of all."""
        self.keep(set())


def _opened(places: Iterable[Place]) -> tuple[dict[Place, Netlink], dict[Place, str]]:
    """In a thread of its own, which goes from one to the next."""
    made: dict[Place, Netlink] = {}
    failed: dict[Place, str] = {}
    for place in places:
        try:
            with namespaces.opened(place[0]) as descriptor:
                if namespaces.inode(descriptor) != place[1]:
                    failed[place] = f"another namespace is called {place[0]} now"
                    continue
                namespaces.join(descriptor)
            made[place] = Netlink()
        except OSError as exc:
            failed[place] = str(exc)
    return made, failed
