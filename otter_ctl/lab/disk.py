"""What the processes of one emulated machine see of the file system.

Most of this computer's, so that a machine costs a few kilobytes, but what it writes stays its own:

    /etc /usr /opt /srv …   this computer's (and the lab's layers) below, its own above (overlay)
    /root /home /var/lib …  its own from the start
    /run /tmp /dev/shm      in memory: gone with its power
    /proc /sys              of its own namespaces, with a boot id of its own

All other folders are shared with this computer, written or not.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from contextlib import suppress
from pathlib import Path

from otter_ctl.lab import linux
from otter_ctl.lab.cgroups import Hierarchy

OVERLAID = ("etc", "usr", "opt", "srv", "bin", "sbin", "lib", "lib64")
OWN = ("root", "home", "var/lib", "var/log", "var/cache", "var/tmp")
PACKAGES = ("var/lib/dpkg", "var/lib/apt")
"""Overlaid as well: which packages there are."""
MEMORY = {"run": "mode=755", "tmp": "mode=1777", "dev/shm": "mode=1777"}
SECRETIVE = ("ssh", "docker")
"""Folders of /etc of which a machine sees nothing: keys and identities of this computer."""
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def prepare(folder: Path, etc: dict[str, tuple[str, int]]) -> None:
    """Make a new machine's disk below its folder, with files of its own in /etc."""
    for name in OWN:
        (folder / "disk" / name).mkdir(parents=True, exist_ok=True)
    (folder / "disk/root").chmod(0o700)
    (folder / "disk/var/tmp").chmod(0o1777)
    for name in (*OVERLAID, *PACKAGES):
        for part in ("upper", "work"):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
    for name in SECRETIVE:
        own = folder / "upper/etc" / name
        own.mkdir(exist_ok=True)
        os.setxattr(own, "trusted.overlay.opaque", b"y")
    for name, (text, mode) in etc.items():
        path = folder / "upper/etc" / name
        path.write_text(text)
        path.chmod(mode)


def needed() -> list[Path]:
    """Where this Python and this OTTER are: machines see them, wherever they lie."""
    code = Path(__file__).resolve().parents[2]
    prefixes = {Path(sys.prefix), Path(sys.base_prefix), code}
    return sorted({path.resolve() for path in prefixes})


def enter(layers: list[Path], hosts: Path, mounted: list[Hierarchy]) -> None:
    """Show the caller's mount namespace a machine's file system; the cwd is the machine's folder.

    Everything of the machine's folder is named relative to the cwd, which stays reachable when the
    folder itself is hidden.
    """
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)
    kept = [(path, os.open(path, os.O_PATH)) for path in needed()]
    shared = os.open(hosts, os.O_PATH)
    packages = {name: os.open(f"/{name}", os.O_PATH) for name in PACKAGES if _is_folder(name)}
    for name in OVERLAID:
        if _is_folder(name):
            _overlay(name, [*(str(layer / name) for layer in layers), f"/{name}"])
    linux.mount("proc", "/proc", "proc")
    for name in OWN:
        if Path("/", name).is_dir():
            linux.bind(f"disk/{name}", f"/{name}")
    for name, options in MEMORY.items():
        linux.mount("tmpfs", f"/{name}", "tmpfs", data=options)
    for name, descriptor in packages.items():
        Path("/", name).mkdir(parents=True, exist_ok=True)
        _overlay(name, [f"/proc/self/fd/{descriptor}"])
    for path, descriptor in kept:
        _keep(path, descriptor)
    linux.bind(f"/proc/self/fd/{shared}", "/etc/hosts")
    for descriptor in (shared, *packages.values(), *(descriptor for _, descriptor in kept)):
        os.close(descriptor)
    _new_boot()
    _mount_sys(mounted)
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SHARED)  # as systemd has it


def _is_folder(name: str) -> bool:
    path = Path("/", name)
    return path.is_dir() and not path.is_symlink()


def _overlay(name: str, lower: list[str]) -> None:
    lower = [path for path in lower if Path(path).is_dir()]
    options = f"lowerdir={':'.join(lower)},upperdir=upper/{name},workdir=work/{name}"
    linux.mount("overlay", f"/{name}", "overlay", data=options)


def _keep(path: Path, descriptor: int) -> None:
    """Show what the mounts have hidden at its own place again."""
    with suppress(OSError):
        if os.path.samestat(os.stat(path), os.fstat(descriptor)):
            return
    if any(path.is_relative_to(f"/{name}") for name in OVERLAID) and path.is_dir():
        return
    path.mkdir(parents=True, exist_ok=True)
    linux.bind(f"/proc/self/fd/{descriptor}", path)


def _new_boot() -> None:
    """A boot id of its own: a machine that was off has started anew."""
    path = Path("/run/lab-boot-id")
    path.write_text(f"{uuid.uuid4()}\n")
    linux.bind(path, BOOT_ID)


def _mount_sys(mounted: list[Hierarchy]) -> None:
    linux.mount("sysfs", "/sys", "sysfs")
    top = Path("/sys/fs/cgroup")
    if [h.path for h in mounted] == [top]:
        linux.mount("cgroup2", top, "cgroup2")
        return
    linux.mount("tmpfs", top, "tmpfs", data="mode=755")
    for hierarchy in mounted:
        folder = top / hierarchy.path.name
        folder.mkdir()
        linux.mount(hierarchy.kind, folder, hierarchy.kind, data=hierarchy.options)
        for controller in hierarchy.path.name.split(","):
            if controller != folder.name:
                (top / controller).symlink_to(folder.name)


def wipe(folder: Path) -> None:
    """Remove a machine's folder with all that it has written."""
    shutil.rmtree(folder, ignore_errors=False)
