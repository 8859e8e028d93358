"""Run folders: what a run leaves on the controller, `runs/MESH/TIME/`.

    topology.toml  plan.json  logs/MODULE.log  logs/MODULE.build.log
    outputs/MODULE/…  messages/MODULE.ndjson

What comes from modules is hostile input: only regular files, only below the run folder.
Must not know: HTTP, the CLI.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from net.errors import OtterError
from otter_agent import api

_PLACES = {
    "log": "logs/{module}.log",
    "build.log": "logs/{module}.build.log",
    "messages.ndjson": "messages/{module}.ndjson",
    "left-out.txt": "outputs/{module}.left-out.txt",
}

_RUN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_TIME_LIMIT = 2.0**33
"""Seconds, the year 2242: file systems and libraries know no end of time, or another each."""
_BROKEN = (
    tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError, MemoryError,
)  # fmt: skip
"""What tarfile raises for what is no tar, and for hostile headers."""


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

    def record(self, topology: Path | None, spec: api.MeshSpec) -> None:
        """Write down what was asked: the file as it was, and the plan."""
        self._write("plan.json", api.encode(spec) + b"\n")
        if topology is not None:
            self._write("topology.toml", topology.read_bytes())

    def unpack(self, module: str, tar: Path) -> list[Path]:
        """Put a module's results in their places; returns the files written.

        Raises:
            OtterError: It isn't a tar, or some members can't be written; all others were.
        """
        _check_name("module", module)
        written: list[Path] = []
        failed: list[str] = []
        try:
            with tarfile.open(tar, "r:") as archive:
                self._members(archive, module, written, failed)
        except _BROKEN as exc:
            raise OtterError(
                f"results of module {module}: no sound tar after {len(written)} files: {exc}",
                hint="is the agent of the same version? Try 'otterctl fetch' again",
            ) from exc
        if failed:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise OtterError(
                f"results of module {module}: {failed[0]}{more}; {len(written)} files were written",
                hint=f"pick another folder than {self.path} with --runs DIR, or rename the outputs",
            )
        return written

    def _members(
        self, archive: tarfile.TarFile, module: str, written: list[Path], failed: list[str]
    ) -> None:
        last = -1
        for member in archive:
            if member.size < 0 or member.offset <= last:  # else it could go round for ever
                raise tarfile.ReadError("a size is negative")
            last = member.offset
            try:
                place = self._place(module, member.name)
                if place is not None and member.isreg() and not member.issparse():
                    self._extract(archive, member, place)
                    written.append(place)
            except (OSError, ValueError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
                failed.append(f"{member.name[:80]!r} can't be written: {reason}")

    def _extract(self, archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
        self._make_way(place)
        source = archive.extractfile(member)
        assert source is not None
        # Not beside `place`: a name may be as long as names can be.
        fresh = self.path / f".new-{os.getpid()}"
        try:
            with source, fresh.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            time = _time(member.mtime)
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
        return self.path.joinpath("outputs", module, *parts)

    def _write(self, name: str, data: bytes) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(data)
        except OSError as error:
            raise OtterError(
                f"run folder {self.path}: {error.strerror}", hint="pick another with --runs DIR"
            ) from error


def _check_name(kind: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _misnamed(kind, name)


def _misnamed(kind: str, name: str) -> OtterError:
    return OtterError(
        f"run folder: the agent names a {kind} {name[:80]!r}, which is no name",
        hint="is that the agent you meant?",
    )


def _time(seconds: float) -> float:
    """A time that every file system takes; a tar may say `nan` and 1e30."""
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), _TIME_LIMIT)
