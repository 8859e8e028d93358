"""Has the kernel take note of a device's carrier now: until it does, what is sent is dropped.

A device that comes up, or whose other end does, is told of to a worker of the kernel's, which may
be late by as much as a second (net/core/link_watch.c). Asking a device for its carrier has that
done at once from Linux 6.8 on; older ones can't be asked to, nor is harm done.
Source: linkwatch_sync_dev(), ethtool_op_get_link().
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import struct

_POINTER = struct.Struct("=16sQ16x")  # ifreq: name, address of what is asked
_VALUE = struct.Struct("=II")  # ethtool_value
_SIOCETHTOOL, _ETHTOOL_GLINK = 0x8946, 0x0A
_NAME_BYTES = 15


def note(descriptor: int, device: str) -> None:
    """Of a device in the namespace of any socket, `descriptor`; none of that name: nothing."""
    value = ctypes.create_string_buffer(_VALUE.pack(_ETHTOOL_GLINK, 0))
    request = _POINTER.pack(device.encode()[:_NAME_BYTES], ctypes.addressof(value))
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, _SIOCETHTOOL, request)
