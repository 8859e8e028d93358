"""Named volumes: folders that all meshes of an agent share, and that outlive them.

    lib/volumes/NAME/_data    what modules see; made on first use, gone with `otterctl volume rm`

What lies in a volume was written by modules: links aren't followed. Must not know: mounts, HTTP.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from otter_agent import api, folders
from otter_agent.errors import AgentError
from otter_agent.layout import Layout

_DATA = "_data"
_GOING = ".going-"


@dataclass(frozen=True, slots=True)
class Volumes:
    """The volumes of one agent."""

    layout: Layout

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.layout.lib / "volumes"

    def data(self, name: str) -> Path:
        """What modules see of a volume."""
        return self.folder / name / _DATA

    def ensure(self, name: str) -> None:
        """Make a volume unless it is there. Any user of an image may write into it."""
        data = self.data(name)
        if not data.exists():
            data.mkdir(parents=True, exist_ok=True)
            data.chmod(0o777)
        self.layout.lib.chmod(0o700)  # nobody else of this machine comes near

    def list(self, used_by: Mapping[str, Sequence[str]]) -> list[api.VolumeInfo]:
        """All of them. Walks through all of their files.

        Args:
            used_by: Name of a volume -> the modules (`mesh/module`) that use it.
        """
        paths = sorted(self.folder.iterdir()) if self.folder.exists() else ()
        return [
            api.VolumeInfo(
                name=path.name,
                size_bytes=_size(path / _DATA),
                created=path.stat().st_mtime,  # nothing but _data is ever made in it
                used_by=tuple(used_by.get(path.name, ())),
            )
            for path in paths
            if not path.name.startswith(_GOING)
        ]

    def remove(self, name: str, used_by: Mapping[str, Sequence[str]]) -> None:
        """Remove a volume with all that is in it.

        Raises:
            AgentError: `not-found`, or `in-use`.
        """
        path = self.folder / name
        if name.startswith(".") or "/" in name or not path.is_dir():
            known = ", ".join(v.name for v in self.folder.iterdir()) if self.folder.exists() else ""
            hint = f"there are: {known or 'none'}"
            raise AgentError("not-found", f"no volume {name[:80]!r} here", hint=hint)
        if users := used_by.get(name):
            more = f" and {len(users) - 3} more" if users[3:] else ""
            raise AgentError(
                "in-use",
                f"volume {name} is used by {', '.join(users[:3])}{more}",
                hint="destroy the mesh, or take the volume out of its topology, first",
            )
        going = path.with_name(f"{_GOING}{name}")
        folders.remove_tree(going)
        path.rename(going)  # gone at once for whoever looks, however long its files take
        folders.remove_tree(going)


def _size(folder: Path) -> int:
    """Bytes on disk; holes in files count nothing."""
    total, waiting = 0, [str(folder)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total
