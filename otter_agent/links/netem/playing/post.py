"""Netlink sockets in the namespaces of directions that were lent.

Must not know: what is sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from otter_agent.links.netem.playing.agenda import Place
from otter_agent.network import namespaces
from otter_agent.network.netlink import Answer, Netlink


class Mail:
    """One socket per namespace: an open one keeps it alive."""

    def __init__(self) -> None:
        self._open: dict[Place, Netlink] = {}

    def open(self, places: Iterable[Place]) -> dict[Place, str]:
        """Have sockets there; why not, where there are none."""
        missing = [place for place in places if place not in self._open]
        if not missing:
            return {}
        made, failed = namespaces.in_own_thread(lambda: _opened(missing))
        self._open |= made
        return failed

    def send(self, place: Place, data: bytes) -> list[tuple[int, Answer]]:
        """See `Netlink.push`. Raises `OSError`."""
        found = self._open.get(place)
        if found is None:
            raise OSError(f"no socket in {place[0]}")
        return found.push(data)

    def keep(self, places: set[Place]) -> None:
        """Let go of all others."""
        for place in self._open.keys() - places:
            self._open.pop(place).close()

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
