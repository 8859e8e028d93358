"""The gate: the static program that holds a container until its network is there.

`gate.c` is the source; `x86_64.py` and `aarch64.py` carry what `rebuild.py` makes of it, as text,
because users have no compiler. Must not know: Docker.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import platform
import tempfile
from pathlib import Path

from otter_agent.errors import ContainerError

INSIDE = "/.otter/gate"
"""Where a container sees the gate; what `/proc/PID/exe` reads while it is held."""

ARCHES = ("x86_64", "aarch64")
"""As `platform.machine()` names them. Another one: add its system calls to gate.c."""


def binary(arch: str) -> bytes:
    """The gate's bytes for a machine.

    Raises:
        ContainerError: There is no gate for this architecture.
    """
    if arch not in ARCHES:
        raise ContainerError(
            "docker", "hold containers", arch, "there is no gate for this architecture",
            hint='use runtime = "process", or add the architecture to gate.c',
        )  # fmt: skip
    text: str = importlib.import_module(f"{__name__}.{arch}").BASE64
    return base64.b64decode(text)


def install(folder: Path) -> Path:
    """Put the gate of this machine into `folder` under a name made of its content; its path.

    A container keeps the very file it was made with, so an upgrade adds a file and changes none.
    """
    data = binary(platform.machine())
    path = folder / f"gate-{hashlib.sha256(data).hexdigest()[:12]}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    # Thirty containers may be made at once, each by a thread of its own: no name is shared.
    descriptor, fresh = tempfile.mkstemp(prefix=".gate-", dir=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    installed = Path(fresh)
    installed.chmod(0o755)
    return installed.replace(path)
