"""The agent's side of the arbiter: says who shares, starts it when it isn't there."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from otter_agent import api, beside
from otter_agent.leasing.words import MARK, Held, Member, Report, Told

_ANSWER_S = 5.0
LOG = "turns.log"


class Leases:
    """Of all modules of this machine that share. Any thread may call.

    Args:
        path: Of the arbiter's socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._members: dict[str, Member] = {}
        self._guests: dict[str, Member] = {}
        self._ended = False

    @property
    def idle(self) -> bool:
        """Whether nobody shares, and no arbiter is there."""
        return self._ended and not self._members

    def weight(self, name: str) -> float | None:
        """That of a member that the arbiter has heard of; None: it is none."""
        member = self._members.get(name)
        return None if member is None else member.weight

    def put(self, member: Member, *, guest: bool = False) -> None:
        """One more, or another weight of one: it can ask when this returns.

        Args:
            member: Who.
            guest: Whether it shares until it is dropped, though `keep` doesn't name it.

        Raises:
            OSError: There is no arbiter to be had, or it can't serve this one.
        """
        with self._guard:
            self._members[member.name] = member
            if guest:
                self._guests[member.name] = member
            self._ended = False
            # Others may be about to go, with their folders.
            _check(f for f in self._say(more=True).failed if f.startswith(f"{member.name}: "))

    def drop(self, name: str) -> None:
        """One shares no more.

        Raises:
            OSError: There is no arbiter to be had.
        """
        with self._guard:  # who comes meanwhile stays
            self._guests.pop(name, None)
            self._keep({key: member for key, member in self._members.items() if key != name})

    def keep(self, members: Mapping[str, Member]) -> tuple[Held, ...]:
        """Exactly these share from now on, and guests; what each had but guests.

        Raises:
            OSError: There is no arbiter to be had, or it can't serve all of them.
        """
        with self._guard:
            held = self._keep({**members, **self._guests})
        return tuple(one for one in held if one.name in members)

    def _keep(self, members: Mapping[str, Member]) -> tuple[Held, ...]:
        self._members, self._ended = dict(members), False
        if not members:
            self._end()
            self._ended = True
            return ()
        report = self._say()
        _check(report.failed)
        return report.held

    def _say(self, *, more: bool = False) -> Report:
        told = Told(members=tuple(self._members.values()), more=more)
        connection = beside.connected(self._path)
        if connection is None:
            connection = beside.start(self._path, __package__, (MARK,), LOG)
        with connection:
            connection.settimeout(_ANSWER_S)
            connection.sendall(api.encode(told) + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        try:
            return api.decode(line, Report)
        except msgspec.DecodeError as error:
            raise OSError(f"the arbiter of turns doesn't answer: {error}") from error

    def _end(self) -> None:
        if self._path.exists():
            beside.end(self._path, MARK, api.encode(Told(end=True)) + b"\n")


def _check(failed: Iterable[str]) -> None:
    """Raises `OSError` if there are any."""
    if words := "; ".join(failed):
        raise OSError(f"no turns for {words}")
