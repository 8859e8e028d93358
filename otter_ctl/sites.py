"""Whether there is a site file, and where. Imported by every verb: knows nothing but paths."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from otter_ctl.lab.place import site_file

VARIABLE = "OTTER_SITE"
"""Environment variable that names another site file than the user's own."""


def default_path() -> Path:
    """The user's own site file, whether it is there or not."""
    return settings(sys.platform, os.environ, Path.home()) / "otter" / "site.toml"


def settings(system: str, environ: Mapping[str, str], home: Path) -> Path:
    """The folder where programs keep a user's settings.

    Sources: the XDG Base Directory Specification; Apple's "File System Programming Guide"; Windows'
    known folder RoamingAppData.

    Args:
        system: As `sys.platform` calls it.
        environ: The user's environment.
        home: The user's folder.
    """
    if system == "win32":
        return Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    named = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(named):
        return Path(named)
    return home / "Library" / "Application Support" if system == "darwin" else home / ".config"


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
