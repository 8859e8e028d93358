"""The agent's end of a helper of its links: starts it, finds it again, speaks to it.

Must not know: what helpers do. Not thread-safe.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from otter_agent import api, beside
from otter_agent.api.base import Data
from otter_agent.errors import NetworkError
from otter_agent.links.talk import LENGTH, STAYS, Reply, pack

R = TypeVar("R", bound=Reply)
_ATTEMPTS = 3
_HUNG_S = 0.1
_START_S = 20.0
"""A new process has to be loaded first, on a machine that may be busy."""


class Lost(ConnectionError):  # noqa: N818 - a word of this folder
    """The helper isn't the one of before, or has gone: what it carried may have to be told anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[R]):
    """What sort of helper it is.

    Attributes:
        driver: Whose, for errors.
        package: What to run.
        mark: Stands in its command line.
        hello: Asks for nothing, to find out who answers.
        bye: Tells it to end.
        reply: What it answers.
    """

    driver: str
    package: str
    mark: str
    hello: Data
    bye: Data
    reply: type[R]


class Helper(Generic[R]):
    """At most one process per agent.

    Args:
        kind: Of helper.
        path: Of its socket; its log lies beside.
        idle_s: How long it lives without anything to do.
        stays: Whether it lives on without, as long as an agent is connected to it.
        answer_s: How long it has to answer; one that hangs is killed.

    Attributes:
        path: As above.
        pid: Of the one spoken to; 0: none.
        hung: Who was ended since it didn't answer -> since when (monotonic seconds).
    """

    def __init__(
        self, kind: Kind[R], path: Path, idle_s: float, answer_s: float, *, stays: bool = False
    ) -> None:
        self.path = path
        self._kind = kind
        self._idle_s = idle_s
        self._answer_s = answer_s
        self._stays = stays
        self._connection: socket.socket | None = None
        self.pid = 0
        self.hung: dict[int, float] = {}

    def find(self) -> bool:
        """Whether one is spoken to, after looking for one that somebody else started."""
        if self._connection is None:
            self._connection = beside.connected(self.path)
            if self._connection is not None:
                self._greet()
        return self._connection is not None

    @property
    def is_there(self) -> bool:
        """Whether one is spoken to, and hasn't hung up meanwhile. It isn't asked for that."""
        poll = select.poll()
        with suppress(OSError, ValueError):  # somebody hangs up just now
            if self._connection is not None:
                poll.register(self._connection, select.POLLRDHUP)
                return not poll.poll(0)
        return False

    def start(self) -> None:
        """Have one.

        Raises:
            NetworkError: It can't be started.
        """
        for _ in range(_ATTEMPTS):
            try:
                if self.find():
                    return
            except Lost:  # it was just about to end, or is none; it must let go of the devices
                self.end()
            try:
                stays = (STAYS,) if self._stays else ()
                words = (self._kind.mark, *stays, str(self._idle_s))
                self._connection = beside.start(self.path, self._kind.package, words, self._log)
            except OSError as exc:
                raise self._failed("start the helper of links", str(exc)) from exc
            with suppress(Lost):
                self._greet(within_s=max(_START_S, self._answer_s))
                return
        raise self._failed(
            "start the helper of links", f"it ends; see {self.path.with_name(self._log)}"
        )

    @property
    def _log(self) -> str:
        return self.path.with_suffix(".log").name

    def _greet(self, within_s: float | None = None) -> None:
        self.pid = self.ask(self._kind.hello, within_s=within_s).pid

    def watch(self) -> int | None:
        """A descriptor that tells of the helper's end; None: it has gone."""
        return beside.open_pid(self.pid) if self.pid else None

    def ask(
        self,
        request: Data,
        descriptors: Sequence[int] = (),
        *,
        within_s: float | None = None,
    ) -> R:
        """Have something done.

        Raises:
            Lost: Nobody is spoken to any more. One that hangs, doesn't understand or isn't
                understood (it is another version's) has been ended.
        """
        connection = self._connection
        if connection is None:
            raise Lost("no helper")
        connection.settimeout(within_s or self._answer_s)
        asked_s = time.monotonic()
        try:
            data = pack(request)
            sent = socket.send_fds(connection, [data], list(descriptors))
            if sent < len(data):
                connection.sendall(data[sent:])
            answer = api.decode(self._receive(connection), self._kind.reply)
        except TimeoutError as exc:
            self.hung[self.pid] = asked_s
            self.end(patience_s=_HUNG_S)
            raise Lost("it didn't answer") from exc
        except msgspec.DecodeError as exc:
            self.end()
            raise Lost(f"it isn't understood: {exc}") from exc
        except (OSError, EOFError) as exc:
            self.hang_up()
            raise Lost(str(exc)) from exc
        if answer.problem:
            self.end()
            raise Lost(answer.problem)
        return answer

    def _receive(self, connection: socket.socket) -> bytes:
        (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size))
        return _exactly(connection, length)

    def hang_up(self) -> None:
        """Speak to it no more; it lives on."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self.pid = None, 0

    def end(self, *, patience_s: float = 5.0) -> None:
        """End it, if there is one; kill it if it doesn't."""
        self.hang_up()
        beside.end(self.path, self._kind.mark, pack(self._kind.bye), patience_s=patience_s)

    def _failed(self, op: str, why: str) -> NetworkError:
        return NetworkError(self._kind.driver, op, os.fspath(self.path), why, recoverable=True)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError("it hung up")
        data += part
    return bytes(data)
