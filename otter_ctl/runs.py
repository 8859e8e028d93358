"""Run folders: what a run leaves on the controller, `runs/MESH/TIME/`.

    topology.toml  plan.json  logs/MODULE.log  logs/MODULE.build.log
    outputs/MODULE/…  messages/MODULE.ndjson

What comes from modules is hostile input: only regular files, only below the run folder.
Must not know: HTTP, the CLI.
"""

from __future__ import annotations

import os
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
}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder; made when first written to."""

    path: Path

    @classmethod
    def of(cls, runs: Path, spec: api.MeshSpec) -> RunFolder:
        """The folder of the run that `spec` belongs to."""
        return cls(runs / spec.name / spec.run)

    def record(self, topology: Path | None, spec: api.MeshSpec) -> None:
        """Write down what was asked: the file as it was, and the plan."""
        self._write("plan.json", api.encode(spec) + b"\n")
        if topology is not None:
            self._write("topology.toml", topology.read_bytes())

    def unpack(self, module: str, tar: Path) -> list[Path]:
        """Put a module's results in their places; returns the files written."""
        written = []
        with tarfile.open(tar) as archive:
            for member in archive:
                place = self._place(module, member.name)
                if place is None or not member.isreg():
                    continue
                source = archive.extractfile(member)
                assert source is not None
                place.parent.mkdir(parents=True, exist_ok=True)
                fresh = place.with_name(f".{place.name}.new")
                with source, fresh.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                os.utime(fresh, (member.mtime, member.mtime))
                fresh.replace(place)
                written.append(place)
        return written

    def _place(self, module: str, name: str) -> Path | None:
        if name in _PLACES:
            return self.path / _PLACES[name].format(module=module)
        root = self.path / "outputs" / module
        relative = name.removeprefix("outputs/")
        if relative == name or ".." in relative.split("/") or relative.startswith("/"):
            return None
        return root / relative

    def _write(self, name: str, data: bytes) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_bytes(data)
        except OSError as error:
            raise OtterError(
                f"run folder {self.path}: {error.strerror}", hint="pick another with --runs DIR"
            ) from error
