"""The agent's durable memory (sqlite): desired meshes, what became of modules, recent events.

All calls are short (a row or two, WAL, no fsync per write) and run on the event loop's thread.
Events of one turn of the loop are written together at its end: one that is killed tells a moment
less, and followers read no file.
Must not know: drivers, HTTP, how desired state is reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.supervision import Supervision

SCHEMA_VERSION = 3
KEEP_EVENTS = 10_000
"""Older events are forgotten: a busy mesh writes about 10 a module, so this is days of history."""
RECENT = 300
"""Events that are told without asking the file for them."""

_NO_DATA: Mapping[str, Any] = MappingProxyType({})
_FULL = sqlite3.OperationalError
"""What sqlite raises on a full disk, among others."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meshes (
    name TEXT PRIMARY KEY, spec BLOB NOT NULL, generation INTEGER NOT NULL,
    destroying INTEGER NOT NULL DEFAULT 0,
    owner INTEGER, author INTEGER, changed REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS supervision (
    mesh TEXT NOT NULL, module TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (mesh, module));
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, mesh TEXT NOT NULL,
    kind TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL, state TEXT NOT NULL,
    data TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS shapes (
    mesh TEXT NOT NULL, link TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (mesh, link, source, target));
CREATE TABLE IF NOT EXISTS budgets (
    mesh TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (mesh, kind, name));
CREATE TABLE IF NOT EXISTS notes (
    mesh TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (mesh, name));
CREATE TABLE IF NOT EXISTS timelines (mesh TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS events_of_mesh ON events (mesh, seq);
"""

_OF_MESHES = ("meshes", "supervision", "shapes", "budgets", "notes", "timelines")
"""Tables with rows of a mesh, but for its events."""

_FROM_1 = (
    "ALTER TABLE meshes ADD COLUMN owner INTEGER",
    "ALTER TABLE meshes ADD COLUMN author INTEGER",
    "ALTER TABLE meshes ADD COLUMN changed REAL NOT NULL DEFAULT 0",
)
"""Brings a state of schema 1 to schema 2: its meshes are nobody's until they are applied again."""
_FROM_2 = ("ALTER TABLE events ADD COLUMN data TEXT NOT NULL DEFAULT ''",)
"""To schema 3."""
_UPGRADES = {1: (*_FROM_1, *_FROM_2), 2: _FROM_2}


@dataclass(frozen=True, slots=True)
class DesiredMesh:
    """A mesh as asked for.

    Attributes:
        owner: uid of who made it; None: unknown, anybody's.
        author: uid of who changed it last.
        changed: When that was (unix seconds).
    """

    spec: api.MeshSpec
    generation: int
    destroying: bool
    owner: int | None = None
    author: int | None = None
    changed: float = 0.0


class State:
    """One sqlite file. Close it with `close`.

    Raises:
        AgentError: A newer version has written the file (`newer-state`), or it is damaged
            (`failed`).
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _told(path):
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
            self._check_version(path)
        self._last: int | None = None
        """Number of the newest event, once that was asked."""
        self._recent: deque[api.Event] = deque(maxlen=RECENT)
        self._unwritten: list[api.Event] = []

    def _check_version(self, path: Path) -> None:
        row = self._db.execute("SELECT value FROM meta WHERE key='schema'").fetchone()
        if row is None:
            self._db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA_VERSION),))
        elif int(row[0]) < SCHEMA_VERSION:
            with self._transaction():
                for statement in _UPGRADES[int(row[0])]:
                    self._db.execute(statement)
                self._db.execute("UPDATE meta SET value=? WHERE key='schema'", (SCHEMA_VERSION,))
        elif int(row[0]) > SCHEMA_VERSION:
            raise AgentError(
                "newer-state",
                f"{path}: written by a newer otter-agent (schema {row[0]}, mine {SCHEMA_VERSION})",
                hint="install that version again, or destroy its meshes with it first",
            )

    def close(self) -> None:
        """Flush and close; idempotent."""
        self._write()
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def agent_id(self) -> str:
        """Six hex digits, drawn once per root: part of every name this agent makes."""
        row = self._db.execute("SELECT value FROM meta WHERE key='agent'").fetchone()
        if row is not None:
            return str(row[0])
        drawn = uuid.uuid4().hex[:6]
        self._db.execute("INSERT INTO meta VALUES ('agent', ?)", (drawn,))
        return drawn

    # --- meshes --------------------------------------------------------------------------------

    def meshes(self) -> dict[str, DesiredMesh]:
        """All meshes, those being destroyed included.

        Raises:
            AgentError: Another version has written one, of which this one can't read what is
                desired (`newer-state`).
        """
        rows = self._db.execute(
            "SELECT name, spec, generation, destroying, owner, author, changed FROM meshes"
            " ORDER BY name"
        )
        return {
            name: DesiredMesh(_readable(name, spec), generation, bool(destroying), *who)
            for name, spec, generation, destroying, *who in rows
        }

    def runtimes(self) -> frozenset[str]:
        """Names of those that modules of its meshes run in, whichever version has written them."""
        found: set[str] = set()
        for (spec,) in self._db.execute("SELECT spec FROM meshes"):
            with contextlib.suppress(ValueError):
                found |= {one.runtime for one in msgspec.json.decode(spec, type=_Mesh).modules}
        return frozenset(found)

    def end_meshes(self) -> None:
        """Mark all meshes as to be removed, those too that this version can't read.

        Of these only the name stays: what they have on the machine is found by it.
        """
        with contextlib.suppress(_FULL), self._transaction():
            for name, spec in self._db.execute("SELECT name, spec FROM meshes").fetchall():
                try:
                    api.decode(spec, api.MeshSpec)
                    self.supervision(name)
                except ValueError:
                    self._drop(name)
                    bare = api.encode(api.MeshSpec(name=name, run=""))
                    words = "INSERT INTO meshes (name, spec, generation) VALUES (?, ?, 1)"
                    self._db.execute(words, (name, bare))
            self._db.execute("UPDATE meshes SET destroying=1")

    def put_mesh(self, spec: api.MeshSpec, author: int | None, now: float) -> DesiredMesh:
        """Store what is desired; an unchanged spec keeps its generation.

        Args:
            spec: What is desired.
            author: uid of who asks; owns the mesh if it is new, or nobody's.
            now: Unix seconds.
        """
        body = api.encode(spec)
        with _full_disk("store the mesh"), self._transaction():
            row = self._db.execute(
                "SELECT spec, generation, destroying, owner, author, changed FROM meshes"
                " WHERE name=?",
                (spec.name,),
            ).fetchone()
            same = row is not None and row[0] == body and not row[2]
            if same and row[3] is not None:
                return DesiredMesh(spec, row[1], False, *row[3:])
            owner = author if row is None or row[3] is None else row[3]
            generation = 1 if row is None else int(row[1]) + (not same)
            self._db.execute(
                "INSERT OR REPLACE INTO meshes"
                " (name, spec, generation, destroying, owner, author, changed)"
                " VALUES (?, ?, ?, 0, ?, ?, ?)",
                (spec.name, body, generation, owner, author, now),
            )
        return DesiredMesh(spec, generation, False, owner, author, now)

    def destroy_mesh(self, desired: DesiredMesh) -> DesiredMesh:
        """Mark as to be removed; survives a crash in the middle of the removal.

        On a full disk only in memory: the removal is what will make room.
        """
        with contextlib.suppress(_FULL):
            self._db.execute("UPDATE meshes SET destroying=1 WHERE name=?", (desired.spec.name,))
        return replace(desired, generation=desired.generation + 1, destroying=True)

    def forget_mesh(self, name: str) -> None:
        """The mesh is gone: drop all rows but its events.

        Raises:
            AgentError: The disk is full even for that.
        """
        with _full_disk("forget the mesh"), self._transaction():
            self._drop(name)

    def _drop(self, name: str) -> None:
        for table in _OF_MESHES:
            column = "name" if table == "meshes" else "mesh"
            self._db.execute(f"DELETE FROM {table} WHERE {column}=?", (name,))  # noqa: S608

    # --- supervision ---------------------------------------------------------------------------

    def supervision(self, mesh: str) -> dict[str, Supervision]:
        """What is remembered of each module of a mesh."""
        rows = self._db.execute("SELECT module, body FROM supervision WHERE mesh=?", (mesh,))
        return {module: msgspec.json.decode(body, type=Supervision) for module, body in rows}

    def put_supervision(
        self, mesh: str, module: str, memory: Supervision | None, *, must: bool = False
    ) -> None:
        """Remember, or forget with None.

        Args:
            mesh: Its name.
            module: Its name.
            memory: What to remember.
            must: On a full disk fail; else it is remembered until a crash.

        Raises:
            AgentError: The disk is full, and it `must` be remembered.
        """
        with _full_disk("store the order") if must else contextlib.suppress(_FULL):
            if memory is None:
                words = "DELETE FROM supervision WHERE mesh=? AND module=?"
                self._db.execute(words, (mesh, module))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO supervision VALUES (?, ?, ?)",
                    (mesh, module, msgspec.json.encode(memory)),
                )

    # --- links changed by hand -----------------------------------------------------------------

    def shapes(self, mesh: str) -> dict[tuple[str, str, str], bytes]:
        """(link, source, target) -> what was changed of that direction."""
        rows = self._db.execute(
            "SELECT link, source, target, body FROM shapes WHERE mesh=?", (mesh,)
        )
        return {(link, source, target): body for link, source, target, body in rows}

    def put_shapes(self, mesh: str, shapes: Mapping[tuple[str, str, str], bytes | None]) -> None:
        """Keep what was changed of some directions, all or nothing; None: forget it.

        Raises:
            AgentError: The disk is full.
        """
        if not shapes:
            return
        gone = [(mesh, *way) for way, body in shapes.items() if body is None]
        kept = [(mesh, *way, body) for way, body in shapes.items() if body is not None]
        with _full_disk("store the change"), self._transaction():
            self._db.executemany(
                "DELETE FROM shapes WHERE mesh=? AND link=? AND source=? AND target=?", gone
            )
            self._db.executemany("INSERT OR REPLACE INTO shapes VALUES (?, ?, ?, ?, ?)", kept)

    # --- budgets changed by hand ---------------------------------------------------------------

    def budgets(self, mesh: str) -> dict[tuple[str, str], bytes]:
        """(kind, name) -> what was changed of that host or module."""
        rows = self._db.execute("SELECT kind, name, body FROM budgets WHERE mesh=?", (mesh,))
        return {(kind, name): body for kind, name, body in rows}

    def put_budgets(self, mesh: str, budgets: Mapping[tuple[str, str], bytes | None]) -> None:
        """Keep what was changed of some hosts and modules, all or nothing; None: forget it.

        Raises:
            AgentError: The disk is full.
        """
        if not budgets:
            return
        gone = [(mesh, *subject) for subject, body in budgets.items() if body is None]
        kept = [(mesh, *subject, body) for subject, body in budgets.items() if body is not None]
        with _full_disk("store the change"), self._transaction():
            self._db.executemany("DELETE FROM budgets WHERE mesh=? AND kind=? AND name=?", gone)
            self._db.executemany("INSERT OR REPLACE INTO budgets VALUES (?, ?, ?, ?)", kept)

    # --- timelines -----------------------------------------------------------------------------

    def timeline(self, mesh: str) -> bytes | None:
        """What is kept of a mesh's timeline."""
        row = self._db.execute("SELECT body FROM timelines WHERE mesh=?", (mesh,)).fetchone()
        return None if row is None else bytes(row[0])

    def put_timeline(self, mesh: str, kept: bytes) -> None:
        """Keep it.

        Raises:
            AgentError: The disk is full.
        """
        with _full_disk("store the timeline's state"):
            self._db.execute("INSERT OR REPLACE INTO timelines VALUES (?, ?)", (mesh, kept))

    def note(self, mesh: str, name: str) -> bytes | None:
        """What a part of a mesh's timeline kept under its name."""
        words = "SELECT body FROM notes WHERE mesh=? AND name=?"
        row = self._db.execute(words, (mesh, name)).fetchone()
        return None if row is None else bytes(row[0])

    def put_note(self, mesh: str, name: str, body: bytes) -> None:
        """Keep it.

        Raises:
            AgentError: The disk is full.
        """
        with _full_disk("store the timeline's state"):
            self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (mesh, name, body))

    # --- events --------------------------------------------------------------------------------

    def add_event(
        self,
        time: float,
        mesh: str,
        kind: str,
        subject: str,
        text: str,
        state: str = "",
        data: Mapping[str, Any] = _NO_DATA,
    ) -> api.Event:
        """Append an event and return it with its number."""
        event = api.Event(
            seq=self.last_event() + 1,
            time=time,
            mesh=mesh,
            kind=kind,
            subject=subject,
            text=text,
            state=state,
            data=dict(data),
        )
        self._last = event.seq
        self._recent.append(event)
        self._unwritten.append(event)
        if len(self._unwritten) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write)
            except RuntimeError:
                self._write()
        return event

    def _write(self) -> None:
        """Write the events of this turn of the loop; on a full disk they are told, not kept."""
        if not self._unwritten:
            return  # somebody asked for them, or closed this, before the turn's end
        events, self._unwritten = self._unwritten, []
        rows = [
            (e.seq, e.time, e.mesh, e.kind, e.subject, e.text, e.state,
             _json(e.data) if e.data else "")
            for e in events
        ]  # fmt: skip
        with contextlib.suppress(_FULL), self._transaction():
            self._db.executemany(
                "INSERT INTO events (seq, time, mesh, kind, subject, text, state, data)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            if any(event.seq % 1000 == 0 for event in events):
                oldest = events[-1].seq - KEEP_EVENTS
                self._db.execute("DELETE FROM events WHERE seq <= ?", (oldest,))

    def events(self, *, mesh: str | None, since: int, limit: int = 1000) -> list[api.Event]:
        """Events numbered above `since`, oldest first; of one mesh or of all."""
        self._write()  # who is killed with one that was told gives its number to another one
        if self._recent and since >= self._recent[0].seq - 1:
            found = (e for e in self._recent if e.seq > since and mesh in (None, e.mesh))
            return list(islice(found, limit))
        rows = self._db.execute(
            "SELECT seq, time, mesh, kind, subject, text, state, data FROM events"
            " WHERE seq > ? AND (? IS NULL OR mesh = ?) ORDER BY seq LIMIT ?",
            (since, mesh, mesh, limit),
        )
        names = ("seq", "time", "mesh", "kind", "subject", "text", "state")
        return [
            api.Event(
                **dict(zip(names, row, strict=True)), data=msgspec.json.decode(data) if data else {}
            )
            for *row, data in rows
        ]

    def last_event(self) -> int:
        """Number of the newest event; 0 if there is none."""
        if self._last is None:
            row = self._db.execute("SELECT max(seq) FROM events").fetchone()
            self._last = int(row[0] or 0)
        return self._last


def _readable(name: str, spec: bytes) -> api.MeshSpec:
    try:
        return api.decode(spec, api.MeshSpec)
    except ValueError as error:
        raise AgentError(
            "newer-state",
            f"mesh {name} was written by another version of otter-agent: {error}",
            hint="install that version again, or `otter-agent sweep` ends all meshes",
        ) from error


class _Module(msgspec.Struct):
    """What all versions have of a module."""

    runtime: str = ""


class _Mesh(msgspec.Struct):
    """What all versions have of a mesh."""

    modules: tuple[_Module, ...] = ()


def mesh_names(path: Path) -> list[str]:
    """Names of the meshes in the file of any version, and of an agent that runs; only read.

    Raises:
        AgentError: It can't be read.
    """
    with (
        _told(path),
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db,
    ):
        return [str(name) for (name,) in db.execute("SELECT name FROM meshes ORDER BY name")]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say of which file it is that can't be read."""
    try:
        yield
    except sqlite3.Error as error:
        raise AgentError("failed", f"{path}: {error}") from error


def _json(data: Mapping[str, Any]) -> str:
    return msgspec.json.encode(data).decode()


@contextmanager
def _full_disk(what: str) -> Iterator[None]:
    try:
        yield
    except _FULL as error:
        hint = "make room on its disk"
        raise AgentError("failed", f"the agent could not {what}: {error}", hint=hint) from error
