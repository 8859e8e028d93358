"""One emulated machine: the process that is its power, and below it its first process.

    python -m otter_ctl.lab.machine FOLDER

The outer one makes the namespaces and waits; when it is killed, so is the inner one, pid 1 of the
machine, and with that the kernel ends all of the machine's processes at once: a power cut.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from otter_ctl.lab import cgroups, disk, linux, processes
from otter_ctl.lab.services import Services, Settings, read_settings

_NAMESPACES = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWPID
)


def main(folder: Path) -> int:
    """Be the power of a machine until it halts."""
    processes.note_own_pid(folder)
    cgroups.enter(f"{os.environ['OTTER_LAB_GROUP']}/{cgroups.POWER}")
    settings = read_settings(folder)
    os.chdir(folder)
    control = _control(folder)
    linux.unshare(_NAMESPACES)
    parent = os.getpid()
    told, goes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        linux.die_with_parent(signal.SIGKILL)
        if os.getppid() not in (0, parent):  # 0: it is outside of the child's pid namespace
            return 1
        return _first(settings, control, goes, folder.name)
    os.close(goes)
    control.close()
    # Relative: the child may have hidden the folder already, and they share what they see.
    Path("init").write_text(f"{child}\n")
    os.close(sys.stdin.fileno())
    os.close(sys.stdout.fileno())
    if os.read(told, 1):
        processes.release_lock()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _control(folder: Path) -> socket.socket:
    """Where the lab asks for services to be started and stopped."""
    (folder / "control").unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind("control")  # relative: a long path doesn't fit
    os.chmod("control", 0o600)
    listening.listen(16)
    return listening


def _first(settings: Settings, control: socket.socket, goes: int, group: str) -> int:
    """The machine's pid 1; the outer process is told by `goes` that it goes on."""
    cgroups.enter(f"{os.environ['OTTER_LAB_GROUP']}/{group}")
    linux.unshare(linux.CLONE_NEWCGROUP)  # here: the outer one mustn't be in what is its root
    linux.set_hostname(settings.name)
    mounted = cgroups.hierarchies()
    disk.enter([Path(layer) for layer in settings.layers], Path(settings.hosts), mounted)
    _into_init_group(mounted)
    sys.stdout.write(processes.READY.decode())
    sys.stdout.flush()
    if not sys.stdin.readline():
        return 0  # whoever was starting us has ended
    processes.release_lock()
    os.write(goes, b"g")
    os.close(goes)
    os.chdir("/")
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    with Services(settings, control) as services:
        services.run()
    return 0


def _into_init_group(mounted: list[cgroups.Hierarchy]) -> None:
    """Leave the root of version 2's groups, which hands nothing on while a process is in it."""
    for hierarchy in mounted:
        if hierarchy.kind == "cgroup2":
            single = len(mounted) == 1
            top = Path("/sys/fs/cgroup") / ("" if single else hierarchy.path.name)
            (top / cgroups.INIT).mkdir(exist_ok=True)
            (top / cgroups.INIT / "cgroup.procs").write_text("0")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
