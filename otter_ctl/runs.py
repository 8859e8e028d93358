"""Run folders: what a run leaves on the controller, `runs/MESH/TIME/`.

    topology.toml  included/…  plan.json  applied/N/…  run.json  events.ndjson
    logs/MODULE.log  logs/MODULE.build.log  outputs/MODULE/…  messages/MODULE.csv

What comes from modules is hostile input: only regular files, only below the run folder.
Must not know: HTTP, the CLI.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from net import tars
from net.errors import OtterError
from net.tars_by_path import is_plain
from otter_agent import api
from otter_ctl.errors import ResultsError

_PLACES = {
    "log": "logs/{module}.log",
    "build.log": "logs/{module}.build.log",
    "messages.csv": "messages/{module}.csv",
    "left-out.txt": "outputs/{module}.left-out.txt",
}

_RUN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
FACTS = "run.json"
REPORT = "report.json"
_REPORT_BYTES = 1 << 20
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass(slots=True)
class Brought:
    """What became of a module's results.

    Attributes:
        files: Those that were written.
        failed: What could not be written, a line each.
        missing_bytes: Of those.
        full: There was no room for some.
        report: What the agent said of them; None: it is of an older version.
    """

    files: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    missing_bytes: int = 0
    full: bool = False
    report: api.Results | None = None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder; made when first written to."""

    path: Path

    @classmethod
    def of(cls, runs: Path, spec: api.MeshSpec) -> RunFolder:
        """The folder of the run that `spec` belongs to.

        Raises:
            OtterError: An agent names its run, mesh or a module so that it could lead elsewhere.
        """
        if not _RUN.fullmatch(spec.run) or spec.run in (".", ".."):
            raise _misnamed("run", spec.run)
        _check_name("mesh", spec.name)
        for module in spec.modules:
            _check_name("module", module.name)
        return cls(runs / spec.name / spec.run)

    def make(self) -> None:
        """Make it, before anything else is done: where nothing can be kept, nothing is run.

        Raises:
            OtterError: It can't be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OtterError(
                f"run folder {self.path}: {error.strerror}", hint="pick another with --runs DIR"
            ) from error

    def drop_if_empty(self) -> None:
        """Remove it where nothing was done: what was refused is no run."""
        with contextlib.suppress(OSError):  # something is in it
            self.path.rmdir()
            self.path.parent.rmdir()

    def record(
        self,
        topology: Path | None,
        spec: api.MeshSpec,
        *,
        included: Sequence[Path] = (),
        overrides: Sequence[str] = (),
        generation: int | None = None,
    ) -> None:
        """Write down what was asked: the files as they were, and the plan.

        Each apply that asks for something else has a folder `applied/N` of its own; the newest is
        also on top.

        Args:
            topology: The file; None: it isn't known.
            spec: The plan.
            included: Files that it includes.
            overrides: `--set`.
            generation: Of the mesh with this plan. Where a later one has been written down, this
                one has been replaced already, and isn't. None: nobody else applies meanwhile.

        Raises:
            OtterError: It can't be written.
        """
        plan = api.encode(spec) + b"\n"
        if topology is None:
            self.write("plan.json", plan)
            return
        files = {"topology.toml": topology.read_bytes(), "plan.json": plan}
        for number, path in enumerate(included, 1):
            files[f"included/{number}-{path.name[-100:]}"] = path.read_bytes()
        digest = api.digest(
            b"".join(os.fsencode(name) + data for name, data in sorted(files.items()))
        )
        said = {"topology": _text(topology.absolute()),
                "included": [_text(path) for path in included], "set": list(overrides),
                "sha256": digest, "generation": generation}  # fmt: skip
        with self._alone():
            self._record(files, said)

    def _record(self, files: Mapping[str, bytes], said: Mapping[str, Any]) -> None:
        facts = self.facts()
        applies = facts.setdefault("applies", [])
        last = applies[-1] if applies else {}
        generation = said["generation"]
        if generation is not None and generation < (last.get("generation") or 0):
            return
        if last.get("sha256") == said["sha256"]:
            last["generation"] = generation
        else:
            place = f"applied/{len(applies) + 1}"
            for name, data in files.items():
                self.write(f"{place}/{name}", data)
            applies.append({"time": timestamp(), "folder": place, **said})
        for name, data in files.items():
            self.write(name, data)
        self._note(facts)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other apply of this computer writes into it meanwhile; it is made if need be.

        Raises:
            OtterError: It can't be.
        """
        self.make()
        if sys.platform == "win32":
            yield
            return
        import fcntl

        try:
            folder = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise OtterError(f"run folder {self.path}: {error.strerror}") from error
        try:
            with contextlib.suppress(OSError):  # not every file system has locks
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def facts(self) -> dict[str, Any]:
        """What `run.json` says so far; see docs/data.md."""
        try:
            found = msgspec.json.decode((self.path / FACTS).read_bytes())
        except (OSError, msgspec.DecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, facts: Mapping[str, Any]) -> None:
        """Put facts into `run.json`, in place of those of the same names."""
        with self._alone():
            self._note(facts)

    def _note(self, facts: Mapping[str, Any]) -> None:
        both = {"format": 1, **self.facts(), **facts}
        self.write(FACTS, msgspec.json.format(msgspec.json.encode(both), indent=2) + b"\n")

    def unpack(self, module: str, tar: Path | BinaryIO) -> Brought:
        """Put a module's results in their places.

        Raises:
            ResultsError: It isn't a tar, or some members can't be written; all others were.
        """
        _check_name("module", module)
        brought = Brought()
        try:
            if isinstance(tar, Path):
                with tar.open("rb") as source:
                    self._members(source, module, brought)
            else:
                self._members(tar, module, brought)
        except tars.BROKEN as exc:
            raise ResultsError(
                module,
                f"no sound tar after {len(brought.files)} files: {exc}",
                hint="is the agent of the same version? Try 'otterctl fetch' again",
            ) from exc
        if brought.failed:
            raise self._incomplete(module, brought)
        return brought

    def _incomplete(self, module: str, brought: Brought) -> ResultsError:
        more = f" (and {len(brought.failed) - 1} more)" if len(brought.failed) > 1 else ""
        hint = f"pick another folder than {self.path} with --runs DIR, or rename the outputs"
        if brought.full:
            hint = f"make room at {self.path}, or pick another folder with --runs DIR"
        return ResultsError(
            module,
            f"{brought.failed[0]}{more}; {len(brought.files)} files were written",
            hint=hint,
            missing_files=len(brought.failed),
            missing_bytes=brought.missing_bytes,
        )

    def _members(self, source: BinaryIO, module: str, brought: Brought) -> None:
        for archive, member in tars.members(source):
            try:
                if member.name == REPORT:
                    brought.report = _report(archive, member)
                    continue
                place = self._place(module, member.name)
                if place is not None and member.isreg():
                    self._extract(archive, member, place)
                    brought.files.append(place)
            except (OSError, ValueError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
                brought.failed.append(f"{member.name[:80]!r} can't be written: {reason}")
                brought.missing_bytes += _size(member)
                brought.full |= isinstance(exc, OSError) and exc.errno in _FULL

    def _extract(self, archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
        self._make_way(place)
        # Not beside `place`: a name may be as long as names can be.
        fresh = self.path / f".new-{os.getpid()}"
        try:
            with fresh.open("wb") as target:
                tars.write_member(archive, member, target)
            time = tars.sane_time(member.mtime)
            os.utime(fresh, (time, time))
            fresh.replace(place)
        finally:
            fresh.unlink(missing_ok=True)

    def _make_way(self, place: Path) -> None:
        """Earlier results give way: a file where a folder is needed, and the reverse."""
        above = place.parent
        for folder in (*reversed(above.relative_to(self.path).parents), above):
            path = self.path / folder
            if path.is_file():
                path.unlink()
        above.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)

    def _place(self, module: str, name: str) -> Path | None:
        """Where a member goes; None if this version knows no place for it.

        Raises:
            ValueError: It would lie elsewhere than it says.
        """
        if name in _PLACES:
            return self.path / _PLACES[name].format(module=module)
        if not name.startswith("outputs/"):
            return None
        parts = name.split("/")[1:]
        if "\0" in name or not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError("no name for an output")
        if not all(map(is_plain, parts)):
            raise ValueError("no name for a file on this system")
        return self.path.joinpath("outputs", module, *parts)

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the run folder, whole or not at all.

        Raises:
            OtterError: It can't be written; what was there before still is.
        """
        place = self.path / name
        fresh = self.path / f".new-{os.getpid()}"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                fresh.write_bytes(data)
                fresh.replace(place)
            finally:
                fresh.unlink(missing_ok=True)
        except OSError as error:
            raise OtterError(
                f"run folder {self.path}: {error.strerror}", hint="pick another with --runs DIR"
            ) from error


def _text(path: Path) -> str:
    """For JSON, which can't hold what isn't UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def timestamp() -> str:
    """Now, as run folders write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _report(archive: tarfile.TarFile, member: tarfile.TarInfo) -> api.Results:
    if member.size > _REPORT_BYTES:
        raise ValueError("too long")
    return api.decode(cast(BinaryIO, archive.fileobj).read(member.size), api.Results)


def _size(member: tarfile.TarInfo) -> int:
    sparse = cast("list[tuple[int, int]] | None", member.sparse)
    return member.size if sparse is None else sum(length for _, length in sparse)


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _misnamed(kind, name)


def _misnamed(kind: str, name: str) -> OtterError:
    return OtterError(
        f"run folder: the agent names a {kind} {name[:80]!r}, which is no name",
        hint="is that the agent you meant?",
    )
