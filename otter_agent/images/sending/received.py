"""Names of images that came from other machines: they carry another agent's label.

So this agent lists them, and prunes them once nothing needs them. Must not know: engines.
"""

from __future__ import annotations

import json
from pathlib import Path


class Received:
    """Names in a file.

    Args:
        file: A JSON list; what is damaged counts as empty.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def names(self) -> set[str]:
        """All of them; some may be gone from the engine."""
        try:
            found = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            return set()
        return {name for name in found if isinstance(name, str)} if type(found) is list else set()

    def add(self, name: str) -> None:
        """Another one."""
        self._write(self.names() | {name})

    def keep_only(self, names: set[str]) -> None:
        """Forget all others."""
        mine = self.names()
        if mine - names:
            self._write(mine & names)

    def _write(self, names: set[str]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_name(f".{self._file.name}")
        fresh.write_text(json.dumps(sorted(names)))
        fresh.rename(self._file)
