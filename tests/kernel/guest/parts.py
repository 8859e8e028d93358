"""What a guest is made of, fetched and built once and kept in a cache folder.

The kernel and busybox come from Debian's packages, downloaded with apt-get and unpacked without
installing (which needs no root); the ptrace shim is compiled from `xstate.c`.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent


class GuestError(Exception):
    """The guest could not be prepared or started."""


def default_cache() -> Path:
    """`$OTTER_CACHE/kernel`, else `kernel` in the user's cache folder for this project."""
    base = os.environ.get("OTTER_CACHE")
    if base:
        return Path(base).absolute() / "kernel"
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user) / "otter" / "kernel"


@dataclass(frozen=True, slots=True)
class Parts:
    """Paths of everything that a guest needs."""

    kernel: Path
    modules: Path
    busybox: Path
    shim: Path


def prepare(cache: Path) -> Parts:
    """Fetch and build what is missing in `cache`.

    Raises:
        GuestError: No apt-get, no network, no C compiler, or the cache cannot be written.
    """
    try:
        return _prepare(cache)
    except OSError as error:
        raise GuestError(f"cannot use the cache {cache}: {error}") from error


def _prepare(cache: Path) -> Parts:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second run waits and finds everything there
        kernel = _made(cache / "user-mode-linux", lambda at: _unpack("user-mode-linux", at))
        busybox = _made(cache / "busybox-static", lambda at: _unpack("busybox-static", at))
        shim = _made(cache / f"xstate-{_source_id()}.so", _compile_shim)
    versions = sorted((kernel / "usr/lib/uml/modules").iterdir())
    return Parts(kernel / "usr/bin/linux.uml", versions[-1], _busybox_in(busybox), shim)


def _busybox_in(package: Path) -> Path:
    """The program, which moved from /bin to /usr/bin in Debian 13."""
    return next(p for p in (package / "usr/bin/busybox", package / "bin/busybox") if p.exists())


def _made(target: Path, make: Callable[[Path], None]) -> Path:
    """Make `target` beside its place and move it there: a cut-off run leaves no half of it."""
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as folder:
        new = Path(folder) / "new"
        make(new)
        new.rename(target)
    return target


def _unpack(package: str, into: Path) -> None:
    """Download a Debian package of this machine's release and unpack it."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise GuestError(f"cannot fetch {package}: this is no Debian or Ubuntu (no apt-get)")
    folder = into.parent
    download = ["apt-get", "-q", "download", package]
    if _run(download, folder).returncode:
        _run(["apt-get", "-q", "update"], folder)  # the lists may be old, or absent
        done = _run(download, folder)
        if done.returncode:
            raise GuestError(f"cannot download {package}: {_last_line(done.stdout)}")
    (archive,) = folder.glob("*.deb")
    done = _run(["dpkg-deb", "-x", str(archive), str(into)], folder)
    archive.unlink()
    if done.returncode:
        raise GuestError(f"cannot unpack {package}: {_last_line(done.stdout)}")


def _source_id() -> str:
    """Changes with the shim's source, so that an old build of it is never used."""
    return f"{zlib.crc32((HERE / 'xstate.c').read_bytes()):08x}"


def _compile_shim(target: Path) -> None:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise GuestError("no C compiler for the ptrace shim: apt-get install gcc libc6-dev")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(target), str(HERE / "xstate.c")]
    done = _run(command, target.parent)
    if done.returncode:
        raise GuestError(f"cannot compile {HERE / 'xstate.c'}:\n{done.stdout}")


def _run(command: Sequence[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run to the end; standard output and error together in `stdout`."""
    return subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1] if lines else "no output"


def claim_processor(cache: Path) -> tuple[int, IO[str] | None]:
    """A processor that no other guest has taken, and the lock that holds it while open.

    User-mode Linux hands over between its kernel and its guest's processes at every system call;
    across processors that is eight times slower, so each guest is pinned to one.
    """
    allowed = sorted(os.sched_getaffinity(0), reverse=True)
    for number in allowed:
        lock = (cache / f"cpu{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return number, lock
    return random.choice(allowed), None
