"""Steers all that enters a namespace, whatever its address and port, to three sockets.

A `sk_lookup` program (Linux 5.9) chooses the socket for a packet that belongs to none yet:

    datagram                       ─► `datagrams`
    SYN of a permitted connection  ─► `connections`, which accepts it
    any other SYN                  ─► `parking`, which drops it: its one seat is taken

So no connection is accepted before somebody has said `permit`, and none is refused: the sender
repeats its SYN. The program is attached to the namespace by a descriptor; with it everything goes.

Source: Documentation/bpf/prog_sk_lookup.rst, bpf(2), bpf-helpers(7), linux/bpf.h;
net/ipv4/tcp_input.c (tcp_conn_request: a full accept queue drops SYNs silently).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

from otter_agent.errors import NetworkError
from otter_agent.network.outside.packets import TCP, Ends

_CALL_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_MAP_CREATE, _MAP_UPDATE, _MAP_DELETE, _PROG_LOAD, _LINK_CREATE = 0, 2, 3, 5, 28
_LRU_HASH, _SOCKMAP, _SK_LOOKUP, _ATTACH = 9, 15, 30, 36
_LOOKUP_ELEMENT, _SK_RELEASE, _SK_ASSIGN = 1, 86, 124
_AF_INET = 2
_PERMITS = 1 << 16
"""More connections than this can't be in the middle of their handshake; the oldest give way."""

# Instructions (linux/bpf.h, linux/bpf_common.h): 32-bit loads and stores, 64-bit arithmetic.
_LOAD, _LOAD_HALF, _STORE, _STORE_NUMBER = 0x61, 0x69, 0x63, 0x62
_COPY, _SET, _ADD, _OR, _SHIFT_LEFT = 0xBF, 0xB7, 0x07, 0x4F, 0x67
_CALL, _EXIT, _IF_EQUAL, _IF_NOT_EQUAL, _MAP = 0x85, 0x95, 0x15, 0x55, 0x18

# Fields of struct bpf_sk_lookup. The remote port is in network order, the local one isn't.
_FAMILY, _PROTOCOL, _REMOTE_IP, _REMOTE_PORT, _LOCAL_IP, _LOCAL_PORT = 8, 12, 16, 36, 40, 60
_CONNECTIONS, _DATAGRAMS, _PARKING = 0, 1, 2
_PASS = 1

_INSTRUCTION = struct.Struct("=BBhi")


class _Do(NamedTuple):
    code: int
    target: int = 0
    source: int = 0
    offset: int = 0
    number: int = 0


class _If(NamedTuple):
    code: int
    register: int
    number: int
    label: str


_Step = _Do | _If | str
"""A string is a label."""

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    number = _CALL_NUMBER.get(os.uname().machine)
    if number is None:
        raise OSError(38, f"bpf isn't known for {os.uname().machine}")
    buffer = ctypes.create_string_buffer(attributes, 144)
    result = int(_libc.syscall(number, command, buffer, 144))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


class Steering:
    """The program at work in one namespace, until `close`.

    Args:
        netns: A descriptor of the namespace.
        connections: Descriptor of a listening TCP socket there; it may bear any address.
        datagrams: Of a UDP socket there.
        parking: Of a listening TCP socket there whose queue is full.

    Raises:
        NetworkError: The kernel can't do this, or this process may not.
    """

    def __init__(self, netns: int, connections: int, datagrams: int, parking: int) -> None:
        self._open: list[int] = []
        try:
            sockets = self._keep(_bpf(_MAP_CREATE, struct.pack("=IIII", _SOCKMAP, 4, 8, 3)))
            for slot, descriptor in enumerate((connections, datagrams, parking)):
                _put(sockets, struct.pack("=I", slot), struct.pack("=Q", descriptor))
            table = struct.pack("=IIII", _LRU_HASH, 12, 4, _PERMITS)
            self._permits = self._keep(_bpf(_MAP_CREATE, table))
            program = self._keep(_load(_assemble(_program(sockets, self._permits))))
            self._keep(_bpf(_LINK_CREATE, struct.pack("=IIII", program, netns, _ATTACH, 0)))
        except OSError as error:
            self.close()
            why = f"{error.strerror} (bpf)"
            hint = "a gateway needs Linux 5.9 or newer with CONFIG_BPF_SYSCALL, and root"
            raise NetworkError("network", "open a gateway", "sk_lookup", why, hint=hint) from error

    def _keep(self, descriptor: int) -> int:
        self._open.append(descriptor)
        return descriptor

    def permit(self, connection: Ends) -> None:
        """The next SYN of this connection is to be accepted."""
        _put(self._permits, _key(connection), b"\1\0\0\0")

    def forget(self, connection: Ends) -> None:
        """Take a permit back, if it is still there."""
        key = ctypes.create_string_buffer(_key(connection), 12)
        with suppress(FileNotFoundError):
            _bpf(_MAP_DELETE, struct.pack("=IIQ", self._permits, 0, ctypes.addressof(key)))

    def close(self) -> None:
        """Detach; idempotent."""
        while self._open:
            os.close(self._open.pop())


def _key(at: Ends) -> bytes:
    """As the program makes it on its stack: see `_program`."""
    remote_port = int.from_bytes(at.source_port.to_bytes(2, "big"), sys.byteorder)
    return at.source + at.target + struct.pack("=I", at.target_port << 16 | remote_port)


def _put(table: int, key: bytes, value: bytes) -> None:
    buffers = [ctypes.create_string_buffer(data, len(data)) for data in (key, value)]
    where, what = (ctypes.addressof(buffer) for buffer in buffers)
    _bpf(_MAP_UPDATE, struct.pack("=IIQQQ", table, 0, where, what, 0))


def _load(code: bytes) -> int:
    text = ctypes.create_string_buffer(code, len(code))
    license_ = ctypes.create_string_buffer(b"Apache-2.0")
    start = (_SK_LOOKUP, len(code) // 8, ctypes.addressof(text), ctypes.addressof(license_))
    # No log, any kernel version, no flags, no name, no device, the type of attachment.
    return _bpf(_PROG_LOAD, struct.pack("=IIQQIIQII16sII", *start, 0, 0, 0, 0, 0, b"", 0, _ATTACH))


def _program(sockets: int, permits: int) -> list[_Step]:
    """Stack: the slot at -16, a permit's key at -12 (remote, local, ports)."""
    return [
        _Do(_COPY, 6, 1),
        _Do(_LOAD, 2, 6, _FAMILY),
        _If(_IF_NOT_EQUAL, 2, _AF_INET, "pass"),
        _Do(_STORE_NUMBER, 10, 0, -16, _DATAGRAMS),
        _Do(_LOAD, 3, 6, _PROTOCOL),
        _If(_IF_NOT_EQUAL, 3, TCP, "choose"),
        _Do(_LOAD, 4, 6, _REMOTE_IP),
        _Do(_STORE, 10, 4, -12),
        _Do(_LOAD, 4, 6, _LOCAL_IP),
        _Do(_STORE, 10, 4, -8),
        _Do(_LOAD_HALF, 4, 6, _REMOTE_PORT),
        _Do(_LOAD, 5, 6, _LOCAL_PORT),
        _Do(_SHIFT_LEFT, 5, 0, 0, 16),
        _Do(_OR, 5, 4),
        _Do(_STORE, 10, 5, -4),
        _Do(_MAP, 1, 1, 0, permits),
        _Do(0, 0),
        _Do(_COPY, 2, 10),
        _Do(_ADD, 2, 0, 0, -12),
        _Do(_CALL, 0, 0, 0, _LOOKUP_ELEMENT),
        _Do(_STORE_NUMBER, 10, 0, -16, _PARKING),
        _If(_IF_EQUAL, 0, 0, "choose"),
        _Do(_STORE_NUMBER, 10, 0, -16, _CONNECTIONS),
        "choose",
        _Do(_MAP, 1, 1, 0, sockets),
        _Do(0, 0),
        _Do(_COPY, 2, 10),
        _Do(_ADD, 2, 0, 0, -16),
        _Do(_CALL, 0, 0, 0, _LOOKUP_ELEMENT),
        _If(_IF_EQUAL, 0, 0, "pass"),
        _Do(_COPY, 7, 0),
        _Do(_COPY, 1, 6),
        _Do(_COPY, 2, 7),
        _Do(_SET, 3, 0, 0, 0),
        _Do(_CALL, 0, 0, 0, _SK_ASSIGN),
        _Do(_COPY, 1, 7),
        _Do(_CALL, 0, 0, 0, _SK_RELEASE),
        "pass",
        _Do(_SET, 0, 0, 0, _PASS),
        _Do(_EXIT, 0),
    ]


def _assemble(steps: list[_Step]) -> bytes:
    """Instructions of 8 bytes: code, registers, offset, number."""
    labels: dict[str, int] = {}
    count = 0
    for step in steps:
        if isinstance(step, str):
            labels[step] = count
        else:
            count += 1
    code = bytearray()
    for step in steps:
        if isinstance(step, _If):
            offset = labels[step.label] - len(code) // 8 - 1
            code += _INSTRUCTION.pack(step.code, step.register, offset, step.number)
        elif isinstance(step, _Do):
            registers = step.target | step.source << 4
            code += _INSTRUCTION.pack(step.code, registers, step.offset, step.number)
    return bytes(code)
