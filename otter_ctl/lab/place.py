"""Where a lab's folder is. Imports nothing of Unix: whoever looks for a lab may be anywhere."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "OTTER_LAB"
"""Environment variable that names another folder than the default one."""
DEFAULT = Path("/var/lib/otter-lab")


def default_folder() -> Path:
    """The folder that `otterctl lab` uses unless told otherwise."""
    return Path(os.path.abspath(os.environ.get(VARIABLE) or DEFAULT))


def site_file() -> Path | None:
    """The site file of the lab that is up on this computer; None: none is, or not for this user."""
    path = default_folder() / "site.toml"
    try:
        return path if path.is_file() and os.access(path, os.R_OK) else None
    except OSError:
        return None
