"""What runs on a lab's machines, and what they are told. Must not know: how machines are made."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from otter_ctl.lab import pool
from otter_ctl.lab.folder import Kept, Memory
from otter_ctl.lab.packages import PORT

DOCKERD = "dockerd"


def has_docker(memory: Memory) -> bool:
    """Whether there is an engine to start."""
    there = shutil.which(DOCKERD, path="/usr/sbin:/usr/bin:/usr/local/bin:/usr/local/sbin")
    layers = (Path(layer) for layer in memory.layers)
    return bool(there) or any((layer / "usr/sbin/dockerd").exists() for layer in layers)


def environment(memory: Memory) -> dict[str, str]:
    """Machines fetch packages through this computer; pip's variables hold there as here."""
    management, _ = memory.networks
    proxy = f"http://{pool.controllers(management)}:{PORT}"
    own = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {"https_proxy": proxy, **{k: v for k, v in own.items() if not set(v) & set('"\\\n')}}


def services(machine: Kept) -> dict[str, list[str]]:
    """Name -> command line."""
    found = {"ssh": ["/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e"]}
    if machine.docker:
        found["docker"] = [DOCKERD, "--bridge=none", "--iptables=false"]
    if machine.agent:
        argv = [sys.executable, "-m", "otter_agent", "serve", "--name", machine.name]
        found["agent"] = argv
    return found


def install_commands(folder: Path) -> None:
    """`otter-agent` and `otterctl`, where whoever logs in finds them."""
    place = folder / "upper/usr/local/bin"
    place.mkdir(parents=True, exist_ok=True)
    for name in ("otter-agent", "otterctl"):
        found = Path(sys.prefix) / "bin" / name
        if found.exists():
            (place / name).symlink_to(found)
