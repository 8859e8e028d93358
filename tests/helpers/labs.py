"""Labs for tests, each in a folder of its own; and what of one is left on this computer."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from otter_ctl.lab.lab import Lab

BIN = Path(__file__).parents[2] / ".venv/bin"
SSHD = Path("/usr/sbin/sshd")


def unpacked() -> Path | None:
    """Where `.ci/debian tests` unpacks what machines need and this computer hasn't installed."""
    base = os.environ.get("OTTER_CACHE") or Path("~/.cache/otter").expanduser()
    folder = Path(base, "lab")
    return folder if folder.is_dir() else None


def unavailable() -> str:
    """Why this computer can have no lab; empty if it can."""
    if os.geteuid() != 0:
        return "not root"
    layer = unpacked()
    if not SSHD.exists() and not (layer and (layer / "usr/sbin/sshd").exists()):
        return "no openssh-server (.ci/debian tests)"
    return "" if shutil.which("ip") and shutil.which("nsenter") else "no ip or nsenter"


def layers() -> list[Path]:
    """For `Lab.up`."""
    layer = unpacked()
    return [layer] if layer else []


@contextmanager
def new_folder(below: str | None = None) -> Iterator[Path]:
    """For a lab; not in pytest's, as that keeps the last three."""
    path = Path(tempfile.mkdtemp(prefix="otter-lab-", dir=below))
    try:
        yield path / "lab"
    finally:
        lab = Lab(path / "lab")
        lab.down()
        shutil.rmtree(path)


def ssh(lab: Lab, name: str, command: str, code: int | None = 0) -> str:
    """What a command on a machine prints."""
    argv = lab.ssh(name, command)
    argv[1:1] = ["-o", "ConnectTimeout=5", "-o", "BatchMode=yes"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    said = f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert code is None or done.returncode == code, said
    return done.stdout.strip() if code == 0 else done.stdout + done.stderr


def otterctl(lab: Lab, *arguments: object, code: int | None = 0) -> str:
    """`otterctl` with this lab; what it printed, with its errors if it was to fail."""
    done = subprocess.run(
        [BIN / "otterctl", *map(str, arguments)],
        env={**os.environ, "OTTER_LAB": str(lab.folder.path), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    said = f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert code is None or done.returncode == code, said
    assert "Traceback" not in done.stderr, said
    return done.stdout if code == 0 else done.stdout + done.stderr


def leftovers(folder: Path, lab_id: str) -> list[str]:
    """What of a lab is still there: processes, control groups, devices, mounts, files."""
    found = [str(path) for path in [folder] if path.exists()]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"otter_ctl.lab" in b" ".join(words) and any(w.startswith(bytes(folder)) for w in words):
            found.append(f"{entry.name}: {words}")
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/otter-lab-{lab_id}")]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"otter-lab-{lab_id}")]
    found += [name for name in os.listdir("/sys/class/net") if name == f"otl-{lab_id}"]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return found + [line for line in mounts if str(folder) in line]


def inside(lab: Lab, name: str, *command: object, code: int | None = 0) -> str:
    """What a command in a machine's namespaces prints; also where no cable leads there."""
    argv = ["nsenter", "-t", str(lab.pid_of(name)), *("-m", "-u", "-i", "-n", "-p", "-C")]
    done = subprocess.run(
        [*argv, *map(str, command)], capture_output=True, text=True, check=False, timeout=60
    )
    said = f"{name}: {command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert code is None or done.returncode == code, said
    return done.stdout.strip()
