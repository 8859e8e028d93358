"""Whether there is a site file, and where. Imported by every verb: knows nothing but paths."""

from __future__ import annotations

import os
from pathlib import Path

from otter_ctl.lab.place import site_file

VARIABLE = "OTTER_SITE"
"""Environment variable that names another site file than the user's own."""


def default_path() -> Path:
    """The user's own site file, whether it is there or not."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if os.path.isabs(base) else Path("~/.config").expanduser()
    return folder / "otter" / "site.toml"


def site_paths() -> tuple[Path, ...]:
    """The site files that hold, later ones over earlier: of a lab that is up, the user's own.

    One that the environment names holds alone.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return (Path(named),)
    own = default_path()
    lab = site_file()
    return (*((lab,) if lab is not None else ()), *((own,) if own.exists() else ()))
