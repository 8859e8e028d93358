"""A systemd as process 1 of a container of namespaces, with units of the test's own and no others.

    Booted ─ unshare: processes, mounts, control groups ─► systemd ─► journald
        └─ inside(script): a shell in there, as root                └─► what is installed there

Files are this computer's, but /run, /etc/systemd/system and /var/lib (folders that outlive it: it
can be booted again) and what the distribution would start. Needs root and cgroup v2 alone: the
guest kernel, where whatever it writes elsewhere is forgotten.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from helpers.otter import wait_for

SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = Path("/sys/fs/cgroup")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BOOT = """
mount -t proc proc /proc
mount -t tmpfs -o mode=755 run /run
mkdir /run/lock
umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind "$1/units" /etc/systemd/system
mount --bind "$1/lib" /var/lib
own=/usr/lib/systemd/system
for folder in $own-generators $own/*.target.wants; do mount -t tmpfs none $folder; done
ln -s $own/systemd-journald.service $own/sysinit.target.wants/
ln -s $own/systemd-journald.socket $own/sockets.target.wants/
exec env -i container=otter PATH=$2 /lib/systemd/systemd --show-status=no
"""


class Booted:
    """One that runs; use as a context manager, again to boot it again.

    Args:
        folder: For what is kept; empty at first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self._group = CGROUPS / "otter-systemd"
        for name in ("units", "lib"):
            (folder / name).mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):  # else /tmp would be another one, with Debian 13
            (folder / "units/tmp.mount").symlink_to("/dev/null")

    def __enter__(self) -> Booted:
        (CGROUPS / "cgroup.subtree_control").write_text("+cpu +memory +pids")
        self._group.mkdir()
        spaces = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc"]
        # Only what becomes process 1 enters: it can't move others out, and hand controllers on.
        enter = f'echo 0 > {self._group}/cgroup.procs; exec unshare --cgroup "$@"'
        boot = ["sh", "-euc", enter, "sh", "sh", "-euc", _BOOT, "sh", str(self._folder), _PATH]
        self._outer = subprocess.Popen([*spaces, *boot], stdin=subprocess.DEVNULL)
        try:
            self._pid = wait_for(self._inner, "process 1")
            wait_for(lambda: self("systemctl show -p Version", code=None)[0] == 0, "systemd")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        """A power cut."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self._outer.kill()
        self._outer.wait()
        self._pid = 0
        for folder, _, _ in os.walk(self._group, topdown=False):
            wait_for(lambda folder=folder: _gone(folder), f"nobody is in {folder}")

    def _inner(self) -> int:
        assert self._outer.poll() is None, "it has ended"
        ps = ["ps", "-o", "pid=", "--ppid", str(self._outer.pid)]
        done = subprocess.run(ps, capture_output=True, text=True, check=False)
        return int(done.stdout or 0)

    def __call__(self, script: str, code: int | None = 0) -> tuple[int, str]:
        """Its exit status, and what a script of a shell in there printed."""
        enter = ["nsenter", "-t", str(self._pid), "-m", "-u", "-i", "-p", "-C"]
        done = subprocess.run(
            [*enter, "env", "-i", f"PATH={_PATH}", "sh", "-eu"], input=script, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False, cwd="/",
        )  # fmt: skip
        assert code in (None, done.returncode), f"{script}\n{done.returncode}: {done.stdout}"
        return done.returncode, done.stdout.strip()


def _gone(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except OSError:
        return False
    return True
