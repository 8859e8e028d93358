"""Where members connect, and their connections. Must not know: whose turn it is."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from net.turns import NOTHING, REVOKED, WANTED, Kept, made
from otter_agent.beside import short
from otter_agent.leasing.fair import Had
from otter_agent.leasing.words import Member


class Asker:
    """A connection of a member."""

    def __init__(self, link: socket.socket, member: str) -> None:
        self.link = link
        self.member = member
        self.thing = ""
        """What it waits for or holds; "": nothing."""
        self.kept: Kept | None = None
        """None: it was granted nothing yet, or there was nothing to keep it by."""
        self._before = (0, 0)

    def grant(self) -> None:
        """Raises `OSError`: it reads nothing, or has gone."""
        if self.kept is None:
            self._grant_first()
            return
        self.kept.take()  # what nobody gave it
        self.kept.say(NOTHING)
        self._before = self.kept.noted()[:2]
        self.link.send(b"g")

    def _grant_first(self) -> None:
        try:
            self.kept, page = made()
        except OSError:  # no more descriptors
            self.link.send(b"g")
            return
        self._before = (0, 0)
        try:
            socket.send_fds(self.link, [b"g"], [self.kept.token, page])
        finally:
            os.close(page)

    def tell(self) -> None:
        """Others wait."""
        if self.kept is not None:  # else it asks for each turn
            self.kept.say(WANTED)

    def revoke(self) -> None:
        """Raises `OSError`: it reads nothing, or has gone."""
        if self.kept is not None:
            self.kept.say(REVOKED)
        self.forget_kept()
        self.thing = ""
        self.link.send(b"v")

    def had(self, since: float, now: float) -> Had:
        """Seconds and turns since it was granted one then."""
        if self.kept is None:
            return Had(now - since, 1)
        held_ns, turns, _ = self.kept.noted()
        lasts_s = self.holds_s(since, now) or 0.0
        return Had((held_ns - self._before[0]) / 1e9 + lasts_s, turns - self._before[1])

    def holds_s(self, since: float, now: float) -> float | None:
        """How long the turn that it makes use of lasts, of what was granted then; None: none."""
        began_ns = 0
        if self.kept is not None:
            _, turns, began_ns = self.kept.noted()
            if turns != self._before[1] and not began_ns:
                return None
        if not began_ns:  # it keeps nothing, or has noted nothing yet
            return now - since
        return min(max(0.0, now - began_ns / 1e9), now - since)

    def forget_kept(self) -> None:
        """What it has to keep turns by is worth nothing any more."""
        if self.kept is not None:
            self.kept.close()
            self.kept = None


class Door:
    """Where a member connects.

    Args:
        member: Whose it is.
        most: Connections that may wait to be taken.
    """

    def __init__(self, member: Member, most: int) -> None:
        self.member = member
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        path = Path(member.socket)
        with suppress(FileNotFoundError):
            path.unlink()
        try:
            with short(path) as name:
                self.listener.bind(name)
            path.chmod(0o666)  # a module may run as any user; only its own folder leads there
            self.listener.listen(most)
        except OSError:
            self.listener.close()
            raise

    def close(self) -> None:
        """And take the socket away, so that whoever comes finds nothing to share."""
        self.listener.close()
        with suppress(OSError):
            Path(self.member.socket).unlink()
