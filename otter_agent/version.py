"""The version of this installation, as one constant."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("otter-mesh")
except PackageNotFoundError:  # run from a checkout that isn't installed
    VERSION = "0+unknown"
