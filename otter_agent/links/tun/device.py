"""TUN devices that stay when nobody holds them. All act on the calling thread's network namespace.

What is sent out of such a device waits in it until somebody reads it from a descriptor, and is
dropped while nobody has one: a link whose helper is gone passes nothing. Before each IP packet
stands a `virtio_net_hdr` of `HEADER_BYTES`, all zero unless the kernel may hand on what it hasn't
cut into packets yet (`set_offload`). An open descriptor keeps its namespace alive.

Source: Documentation/networking/tuntap.rst, linux/if_tun.h, linux/virtio_net.h, drivers/net/tun.c.
Must not know: links, meshes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time

from otter_agent.errors import NetworkError
from otter_agent.network import carrier

HEADER_BYTES = 10
WAITING_PACKETS = 4096
"""How many packets wait in a device for its reader; the kernel's default, 500, is less than what a
TCP connection sends at once (a TUN device tells nobody to wait)."""

_PATH = "/dev/net/tun"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOFFLOAD = 0x400454CA, 0x400454CB, 0x400454D0
_TUNSETIFINDEX = 0x400454DA
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_CSUM, _TSO4, _TSO6, _TSO_ECN = 0x01, 0x02, 0x04, 0x08
_RTM_NEWLINK, _IFLA_TXQLEN = 16, 13
_REQUEST = struct.Struct("=16sH22x")  # ifreq: name, flags
_LINK = struct.Struct("=4xi8x")  # ifinfomsg: index
_LENGTH = struct.Struct("=HHI")  # an attribute: queue length
_SIOCGIFFLAGS = 0x8913
_IFF_UP, _IFF_RUNNING = 0x1, 0x40
_RUNNING_S = 1.0
_NAME_BYTES = 15
_HINT = "the agent needs /dev/net/tun (`modprobe tun`) and the right to make network devices"


def make(name: str, index: int = 0) -> None:
    """Have a device of that name, down if it is new; one that is there stays as it is.

    Args:
        name: Its name.
        index: Of a new one; 0: the kernel chooses.

    Raises:
        NetworkError: The kernel refused, or the name is another kind of device's.
    """
    try:
        descriptor = _attached(name, index)
    except OSError as exc:
        if exc.errno == errno.EBUSY:  # it is there, and somebody reads it
            return
        raise _failed("create the device", name, exc) from exc
    try:
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
        _set_queue(name)
    except OSError as exc:
        raise _failed("create the device", name, exc) from exc
    finally:
        os.close(descriptor)


def attach(name: str, *, offload: bool = False) -> int:
    """A descriptor, not blocking, that reads and writes the packets of a device; only one may be.

    Raises:
        NetworkError: There is no such device (ENODEV), somebody has one already (EBUSY), …
    """
    try:
        socket.if_nametoindex(name)  # else TUNSETIFF would make one
        descriptor = _attached(name)
    except OSError as exc:
        raise _failed("open the device", name, exc) from exc
    try:
        set_offload(descriptor, offload=offload)
        _wait_until_running(name)
    except OSError as exc:
        os.close(descriptor)
        raise _failed("open the device", name, exc) from exc
    return descriptor


def _wait_until_running(name: str) -> None:
    """Wait until a device that is up takes packets.

    It has had no carrier while nobody read it, and the kernel takes note of the change some time
    later (net/core/link_watch.c); until then it drops all that is sent.
    """
    deadline = time.monotonic() + _RUNNING_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        while time.monotonic() < deadline:
            carrier.note(any_socket.fileno(), name)
            answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _REQUEST.pack(name.encode(), 0))
            flags = _REQUEST.unpack(answer)[1]
            if not flags & _IFF_UP or flags & _IFF_RUNNING:
                return
            time.sleep(0.0005)


def set_offload(descriptor: int, *, offload: bool) -> None:
    """Say whether packets may come uncut, up to 64 KiB each, with their checksums to be filled in.

    Raises:
        OSError: The kernel refused.
    """
    features = _CSUM | _TSO4 | _TSO6 | _TSO_ECN if offload else 0
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, features)


def usable() -> str:
    """Why no device can be made in the calling thread's namespace; empty: one can."""
    name = "otter-probe"
    try:
        os.close(_attached(name))  # it isn't persistent: gone when closed
    except OSError as exc:
        return str(_failed("create a TUN device", name, exc))
    return ""


def _attached(name: str, index: int = 0) -> int:
    if not 0 < len(name.encode()) <= _NAME_BYTES:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    descriptor = os.open(_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if index:  # a device that is there keeps its own
            fcntl.ioctl(descriptor, _TUNSETIFINDEX, struct.pack("=I", index))
        request = _REQUEST.pack(name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _set_queue(name: str) -> None:
    """By netlink: the ioctl for it is root's of the machine only, not of a user namespace."""
    # The helper makes none, and starts a twelfth sooner without what is needed for that.
    from otter_agent.network.messages import Request
    from otter_agent.network.netlink import Netlink

    body = _LINK.pack(socket.if_nametoindex(name)) + _LENGTH.pack(8, _IFLA_TXQLEN, WAITING_PACKETS)
    with Netlink() as netlink:
        netlink.send([Request(_RTM_NEWLINK, 0, body, "set the queue")], name)


def _failed(op: str, name: str, exc: OSError) -> NetworkError:
    code = exc.errno or 0
    if code in (0, errno.ENXIO):  # `if_nametoindex` gives no number in some Pythons
        code = errno.ENODEV
    why = f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"
    hint = _HINT if code in (errno.ENOENT, errno.EPERM) else ""
    if code == errno.EACCES:
        hint = f"ordinary users must be let at it: sudo chmod 0666 {_PATH}"
    error = NetworkError("tun", op, name, why, hint=hint, recoverable=code == errno.EBUSY)
    error.errno = code
    return error
