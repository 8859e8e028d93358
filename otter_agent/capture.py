"""Packets of a link as they arrive, in both directions or one, as pcapng.

Each direction is heard at its far end, so a capture shows what the link let through, when: the
times are the kernel's, of the arrival there. Must not know: HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from net import pcapng
from otter_agent import api, arrivals
from otter_agent.errors import AgentError
from otter_agent.links.ways import ways
from otter_agent.machine import Machine
from otter_agent.network import buffers, names, namespaces

LONGEST_SNAP = 65_535
_ALL = 0x0003
"""ETH_P_ALL: linux/if_ether.h."""
_SOL_PACKET, _STATISTICS, _IGNORE_OUTGOING = 263, 6, 23
"""linux/if_packet.h; the last since Linux 4.20."""
_SO_ATTACH_FILTER = 26
_BUFFER_BYTES = 1 << 24
_PROGRAM = ctypes.create_string_buffer(
    struct.pack("HBBI", 0x20, 0, 0, 0xFFFFF000 + 20)  # load the mark (SKF_AD_MARK)
    + struct.pack("HBBI", 0x15, 0, 1, 0)  # none: 0 bytes of it, else all
    + struct.pack("HBBI", 0x06, 0, 0, 0)
    + struct.pack("HBBI", 0x06, 0, 0, 0x40000)
)
_MARKED_ONLY = struct.pack("HL", 4, ctypes.addressof(_PROGRAM))
"""What a socket takes: struct sock_fprog of linux/filter.h."""
_ETHERNET = 1
"""ARPHRD_ETHER; a TUN device has none of it, and its packets begin with the IP header."""
_AT_ONCE = 512
_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be captured.

    Attributes:
        direction: `from>to`; empty: both.
        snap_bytes: Of each packet, at most.
        packets: End after so many; None: when the caller goes.
        seconds: End after so long.
    """

    direction: str = ""
    snap_bytes: int = LONGEST_SNAP
    packets: int | None = None
    seconds: float | None = None


class _Tap:
    """One direction's far end; what is read is of its device only.

    Args:
        marked: Whether what has no mark is to come by again, when a medium has let it pass.

    Raises:
        OSError: There is no such namespace or device.
    """

    def __init__(self, netns: str, device: str, name: str, *, marked: bool) -> None:
        def open_() -> socket.socket:
            namespaces.enter(netns)
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            try:
                made.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
                buffers.widen_receiving(made, _BUFFER_BYTES)
                arrivals.tell_times(made)
                made.setblocking(False)
                if marked:
                    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _MARKED_ONLY)
                made.bind((device, _ALL))
            except OSError:
                made.close()
                raise
            return made

        self.name = name
        self._dropped = 0
        self.socket = namespaces.in_own_thread(open_)
        hardware = self.socket.getsockname()[3]
        self.link_type = pcapng.ETHERNET if hardware == _ETHERNET else pcapng.RAW_IP

    def read(self, number: int, room: bytearray, most: int) -> list[bytes]:
        """Blocks of the packets that wait, as many as `most`."""
        found: list[bytes] = []
        view = memoryview(room)
        while len(found) < most:
            try:
                length, ancillary, _, _ = self.socket.recvmsg_into(
                    [view], arrivals.ROOM, socket.MSG_TRUNC
                )
            except BlockingIOError:
                break
            kept = bytes(view[: min(length, len(room))])
            came = arrivals.time_of(ancillary) or time.time_ns()
            found.append(pcapng.packet(number, came, kept, length))
        return found

    def dropped(self) -> int:
        """Packets that could not be kept so far, if there are more of them; else 0."""
        told = self.socket.getsockopt(_SOL_PACKET, _STATISTICS, 8)  # since it was asked last
        new = int(struct.unpack("II", told)[1])
        self._dropped += new
        return self._dropped if new else 0


class Capture:
    """Taps of a link and what they hear. All methods but `wait` block: call them from threads."""

    def __init__(self, taps: Sequence[_Tap], wanted: Wanted) -> None:
        self._taps = taps
        self._left = wanted.packets
        self._snap = wanted.snap_bytes
        self._until = None if wanted.seconds is None else time.monotonic() + wanted.seconds
        self._room = bytearray(wanted.snap_bytes)
        self._guard = threading.Lock()
        self._closed = False

    def head(self) -> bytes:
        """What the file begins with."""
        blocks = [pcapng.section("OTTER")]
        blocks += [pcapng.interface(t.link_type, self._snap, t.name, "at its far end")
                   for t in self._taps]  # fmt: skip
        return b"".join(blocks)

    def read(self) -> bytes | None:
        """What has come; None: that was all."""
        with self._guard:
            if self._closed or self._left == 0:
                return None
            if self._until is not None and time.monotonic() >= self._until:
                self._left = 0
            return b"".join(self._blocks())

    async def wait(self, news: asyncio.Event) -> None:
        """Until there is something to read, time is over, or `news` is set by somebody else.

        In the loop: a thread that waits for each capture would leave none for anything else.
        """
        loop = asyncio.get_running_loop()
        left = None if self._until is None else max(0.0, self._until - time.monotonic())
        for tap in self._taps:
            loop.add_reader(tap.socket, news.set)
        try:
            async with asyncio.timeout(left):
                await news.wait()
        except TimeoutError:
            pass
        finally:
            for tap in self._taps:
                loop.remove_reader(tap.socket)
            news.clear()

    def _blocks(self) -> list[bytes]:
        blocks: list[bytes] = []
        for number, tap in enumerate(self._taps):
            most = _AT_ONCE
            if self._left is not None:  # to each its share; the next turn takes what one lacks
                most = min(most, -(-self._left // (len(self._taps) - number)))
            found = tap.read(number, self._room, most)
            if self._left is not None:
                self._left -= len(found)
            blocks += found
            if lost := tap.dropped():
                blocks.append(pcapng.statistics(number, time.time_ns(), lost))
        return blocks

    def close(self) -> None:
        """Let go of the namespaces."""
        with self._guard:
            self._closed = True
            for tap in self._taps:
                tap.socket.close()


async def captured(
    machine: Machine, spec: api.MeshSpec, link_name: str, wanted: Wanted
) -> AsyncGenerator[bytes, None]:
    """The file, as it comes; closing it ends the capture, and so does the end of a host.

    Raises:
        AgentError: `not-found`: no such link, direction, or its hosts aren't up.
    """
    directions = _directions(spec, link_name, wanted.direction)
    capture = await asyncio.to_thread(_opened, machine, spec, link_name, directions, wanted)
    gone, news, loop = threading.Event(), asyncio.Event(), asyncio.get_running_loop()

    def end() -> None:
        gone.set()
        loop.call_soon_threadsafe(news.set)

    with contextlib.ExitStack() as stack:
        for host in {host for direction in directions for host in direction}:
            stack.enter_context(machine.network.on_removal(spec.name, host, end))
        try:
            yield capture.head()
            while not gone.is_set():
                data = await asyncio.to_thread(capture.read)
                if data is None:
                    return
                if data:
                    yield data
                else:
                    await capture.wait(news)
        finally:
            await asyncio.shield(asyncio.to_thread(capture.close))


def _directions(spec: api.MeshSpec, name: str, direction: str) -> list[tuple[str, str]]:
    there = [(way.source, way.target) for way in ways(spec) if way.link == name]
    chosen = [(a, b) for a, b in there if direction in ("", f"{a}>{b}")]
    if chosen:
        return chosen
    if there:
        text = f"link {name} has no direction {direction!r}"
        known = ", ".join(f"{a}>{b}" for a, b in there)
    else:
        text = f"no link {name!r} in mesh {spec.name}"
        known = ", ".join(link.name for link in spec.links[:20]) or "none"
    raise AgentError("not-found", text, hint=f"there are: {known}")


def _opened(
    machine: Machine,
    spec: api.MeshSpec,
    link: str,
    directions: list[tuple[str, str]],
    wanted: Wanted,
) -> Capture:
    mesh, driver, marked = spec.name, machine.links_of(spec).driver, set[tuple[str, str]]()
    if driver is not None and driver.marks_what_passed:
        marked = {(member.link, cell.host) for cell in spec.cells for member in cell.members}
    taps: list[_Tap] = []
    try:
        for source, target in directions:
            netns = names.namespace(machine.agent_id, mesh, target)
            name, device = f"{link}:{source}>{target}", names.link_device(link)
            taps.append(_Tap(netns, device, name, marked=(link, target) in marked))
    except OSError as error:
        for tap in taps:
            tap.socket.close()
        why = f"link {link} of mesh {mesh} isn't up ({error.strerror})"
        raise AgentError("not-found", why) from error
    return Capture(taps, wanted)
