"""Named network namespaces, as `ip netns` keeps them: files in /run/netns with a mount on each.

A network namespace belongs to a thread. Whatever enters one runs in a thread of its own that ends
afterwards (`in_own_thread`), so no other code ever finds itself in a foreign namespace. Source:
network_namespaces(7), setns(2), ip-netns(8), iproute2's ip/ipnetns.c. Must not know: meshes.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from otter_agent.errors import NetworkError

NETNS_DIR = Path("/run/netns")

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000
_CLONE_NEWNS, _CLONE_FS = 0x20000, 0x200
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
_MNT_DETACH = 2
_OWN = "/proc/thread-self/ns/net"

# In a new namespace these start as the machine's own are, not as the kernel's defaults.
_ROUTER_SYSCTLS = (
    ("ipv4/ip_forward", b"1"),
    # Answers may come back another way: links are one-way at will, routes asymmetric.
    ("ipv4/conf/all/rp_filter", b"0"),
    ("ipv4/conf/default/rp_filter", b"0"),
)
_SILENT = (("ipv4/icmp_echo_ignore_all", b"1"),)
_NO_IPV6 = ("ipv6/conf/all/disable_ipv6", b"1")
"""Sets `default` too. Without it every new device spends time and packets on IPv6 addresses."""


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.mount.argtypes = (
        ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p,
    )  # fmt: skip
    library.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
    library.unshare.argtypes = (ctypes.c_int,)
    library.setns.argtypes = (ctypes.c_int, ctypes.c_int)
    return library


_libc = _library()


def in_own_thread(work: Callable[[], _T]) -> _T:
    """Run `work` in a new thread, which may change its namespaces at will; hand on its outcome."""
    results: list[_T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as exc:  # noqa: BLE001 - raised again by the caller
            failures.append(exc)

    thread = threading.Thread(target=run, name="otter-netns", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


# --- moving the calling thread: only inside `in_own_thread` -----------------------------------


def unshare() -> None:
    """Move the calling thread into a new, nameless namespace."""
    _check(_libc.unshare(_CLONE_NEWNET))


def join(descriptor: int) -> None:
    """Move the calling thread into the namespace of an open descriptor."""
    _check(_libc.setns(descriptor, _CLONE_NEWNET))


def join_machine() -> None:
    """Move the calling thread into the machine's namespace: the main thread's, which stays."""
    descriptor = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        join(descriptor)
    finally:
        os.close(descriptor)


def open_own() -> int:
    """A descriptor of the calling thread's namespace."""
    return os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def opened(name: str) -> Iterator[int]:
    """A descriptor of a named namespace, for the length of a `with`."""
    descriptor = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def enter(name: str) -> None:
    """Move the calling thread into a named namespace.

    Raises:
        OSError: There is none of that name (ENOENT, or EINVAL for a file without a mount).
    """
    with opened(name) as descriptor:
        join(descriptor)


# --- named namespaces -------------------------------------------------------------------------


def create_router(
    name: str, *, silent: bool = False, last: Callable[[], None] | None = None
) -> None:
    """Make a namespace that forwards packets; the calling thread ends up inside.

    It gets its name last: one with a name is always configured, whenever this process is killed.

    Args:
        name: Its file name.
        silent: It answers no pings, whatever address it has.
        last: Called inside, before it has its name.

    Raises:
        NetworkError: The kernel refused; see `probe.usable` for why that may be.
    """
    try:
        unshare()
        for key, value in (*_ROUTER_SYSCTLS, *(_SILENT if silent else ())):
            set_sysctl(key, value)
        with suppress(FileNotFoundError):  # no IPv6 in this kernel
            set_sysctl(*_NO_IPV6)
        if last is not None:
            last()
        path = _path(name)
        # A killed predecessor may have left the file without a mount.
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
        _check(_libc.mount(_OWN.encode(), path.encode(), b"none", _MS_BIND, None))
    except OSError as exc:
        raise failed("create the namespace", name, exc) from exc


def set_sysctl(key: str, value: bytes) -> None:
    """Write a key of /proc/sys/net in the calling thread's namespace."""
    descriptor = os.open(f"/proc/sys/net/{key}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value)
    finally:
        os.close(descriptor)


def names(prefix: str) -> list[str]:
    """Names that start so, with a namespace behind them or not."""
    try:
        return [name for name in os.listdir(NETNS_DIR) if name.startswith(prefix)]
    except FileNotFoundError:
        return []


def exists(name: str) -> bool:
    """Whether a namespace is mounted there: a file on the kernel's nsfs, not one of /run's."""
    try:
        return os.stat(_path(name)).st_dev == os.stat(_OWN).st_dev
    except FileNotFoundError:
        return False


def inode(descriptor: int) -> int:
    """What identifies a namespace, as /proc/PID/ns/net shows it."""
    return os.fstat(descriptor).st_ino


def drop(name: str) -> None:
    """Take a name away, and with it the namespace unless something else still uses it.

    Mounts of it in other mount namespaces (modules' own) go with the file.
    """
    path = _path(name)
    try:
        # More than one mount lies there if two processes once made it at the same time.
        while _libc.umount2(path.encode(), _MNT_DETACH) == 0:
            pass
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise failed("remove the namespace", name, exc) from exc


def prepare_directory() -> None:
    """Make /run/netns what `ip netns` makes of it: a shared mount, under the same lock."""
    try:
        NETNS_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
        if _is_shared():
            return
        descriptor = os.open(NETNS_DIR, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            path = str(NETNS_DIR).encode()
            if _libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None) == 0:
                return
            _check(_libc.mount(path, path, b"none", _MS_BIND | _MS_REC, None))
            _check(_libc.mount(b"", path, b"none", _MS_SHARED | _MS_REC, None))
        finally:
            os.close(descriptor)
    except OSError as exc:
        raise failed("prepare", str(NETNS_DIR), exc) from exc


def try_mount() -> None:
    """Make a mount in a mount namespace that ends with the calling thread.

    Raises:
        OSError: This process may not mount (CAP_SYS_ADMIN, or a security module says no).
    """
    _check(_libc.unshare(_CLONE_NEWNS | _CLONE_FS))
    _check(_libc.mount(b"none", b"/", b"none", _MS_PRIVATE | _MS_REC, None))
    # With what is below: in a user namespace, no mount can be taken from another's cover.
    _check(_libc.mount(b"/proc", b"/proc", b"none", _MS_BIND | _MS_REC, None))


def _is_shared() -> bool:
    """Whether /run/netns is a mount point that shares (mountinfo: field 5, optional fields)."""
    for line in Path("/proc/thread-self/mountinfo").read_text().splitlines():
        fields = line.split(" - ")[0].split()
        if fields[4] == str(NETNS_DIR):
            return any(f.startswith("shared:") for f in fields[6:])
    return False


def hint_for(code: int) -> str:
    """What to try where the kernel says that this process may not."""
    if code not in (errno.EPERM, errno.EACCES):
        return ""
    return "the agent must be root, with the right to make network namespaces and mounts"


def failed(op: str, target: str, exc: OSError) -> NetworkError:
    """The error for a refused system call."""
    code = exc.errno or 0
    why = f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"
    error = NetworkError("network", op, target, why, hint=hint_for(code))
    error.errno = code
    return error


def _path(name: str) -> str:
    return f"{NETNS_DIR}/{name}"


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
