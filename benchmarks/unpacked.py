"""What machines of a lab need and this computer lacks: `.ci/debian tests` unpacks it in a cache."""

from __future__ import annotations

import os
from pathlib import Path


def layers() -> list[Path]:
    """For `Lab.up(layers=…)` and `otterctl lab up --layer`."""
    cache = os.environ.get("OTTER_CACHE") or Path("~/.cache/otter").expanduser()
    folder = Path(cache, "lab")
    return [folder] if folder.is_dir() else []
