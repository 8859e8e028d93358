"""The receiving end of one session: datagrams in, messages and reports out. Pure: `now` passed in.

    fragments ─► reassembly ─► messages     reports go out: at once when much has come, something
    probe, end ──────┘  └────► reports      is missing or was probed for; else soon after

Must not know: asyncio, sockets, who accepts streams, what messages hold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from net.datagram import control
from net.datagram.counters import ReceivedCounters
from net.datagram.fragment import END, FRAGMENT, HEADER, HEADER_BYTES, PROBE
from net.datagram.reassembly import Finished, Reassembler
from net.errors import RemoteWireError, TransportError

_SOON_S = 0.001
"""Most that a report waits for more to report."""
_RUN = 8
"""Alike datagrams from which on they are handled as one array."""
_MAX_REPORTS = 8
"""Most reports at a time; what else is missing is asked for with the next."""
_AGAIN_UNKNOWN_S = 0.05
"""When to ask again while the round trip isn't known."""


class Receiving:
    """One session.

    Args:
        session: Its number.
        greeting: What its sender said.
        limit_bytes: Largest message.
        window_bytes: What may be under way.

    Attributes:
        counters: What came of what.
        heard: When something last came.
        blocked: Whether the sender shall begin no further message.
        fault: What made no sense in what was received last, or None.
    """

    def __init__(
        self, session: int, greeting: control.Greeting, limit_bytes: int, window_bytes: int,
        now: float,
    ) -> None:  # fmt: skip
        self.session, self.greeting = session, greeting
        self.counters = ReceivedCounters()
        self.heard = now
        self.blocked = False
        self.fault: TransportError | None = None
        self._window = window_bytes
        self._messages = Reassembler(
            greeting.deadline_s, greeting.partial, limit_bytes, self.counters
        )
        self._largest = 0
        self._largest_at = now
        self._rtt_s = 0.0
        self._reports = 0
        self._unreported_bytes = 0
        self._report_at: float | None = None
        self._ask_at: float | None = None
        self._last: int | None = None
        self._end_asked = False

    # --- datagrams -------------------------------------------------------------------------------

    def receive(self, memory: NDArray[np.uint8], segment: int, now: float) -> list[Finished]:
        """Datagrams of this session, one after the other, all of `segment` bytes but the last.

        What makes no sense is counted and passed over.
        """
        self.heard, self.fault = now, None
        finished: list[Finished] = []
        count = -(-len(memory) // segment)
        begin = 0
        if count >= _RUN and segment > HEADER_BYTES:
            begin = segment * self._receive_run(memory, segment, now, finished)
        for start in range(begin, len(memory), segment):
            try:
                finished += self._receive_one(memory[start : start + segment], now)
            except TransportError as exc:
                self.counters.refused += 1
                self.fault = exc
        if self._unreported_bytes >= self._window // 8:
            self._report_at = now
        elif self._report_at is None:
            self._report_at = now + _SOON_S
        self._look_for_gaps(now)
        return finished

    def _receive_one(self, data: NDArray[np.uint8], now: float) -> list[Finished]:
        kind, session = control.read_prefix(memoryview(data))  # type: ignore[arg-type]
        if session != self.session:
            raise RemoteWireError("a datagram of another session")
        if kind == FRAGMENT:
            return self._receive_fragment(data, now)
        if kind == PROBE:
            packet, last = control.read_probe(data.tobytes())
            self._arrived(packet, now)
            finished = self._messages.reach(last, now)
            self._report_at = self._ask_at = now
            return finished
        if kind == END:
            self._last = control.read_end(data.tobytes())
            self._end_asked = True
            return self._messages.reach(self._last, now)
        raise RemoteWireError(f"a datagram of kind {kind}")

    def _receive_fragment(self, data: NDArray[np.uint8], now: float) -> list[Finished]:
        if len(data) <= HEADER_BYTES:
            raise RemoteWireError("a fragment cut short")
        (
            _, _, _, _, packet, number, _, length, size, blocks, parity, flags, rtt, index,
        ) = HEADER.unpack_from(memoryview(data))  # type: ignore[arg-type]  # fmt: skip
        self._arrived(packet, now)
        self._note(1, len(data), rtt)
        payload = data[HEADER_BYTES:]
        return self._messages.add(
            number, (length, size, blocks, parity), flags, index, payload, now
        )

    def _receive_run(
        self, memory: NDArray[np.uint8], segment: int, now: float, finished: list[Finished]
    ) -> int:
        """Fragments that follow each other in one message, as one array; how many they were."""
        whole = len(memory) // segment
        rows = memory[: whole * segment].reshape(whole, segment)
        first, last = HEADER.unpack_from(rows[0]), HEADER.unpack_from(rows[-1])
        if first[2] != FRAGMENT or first[3] != self.session or segment - HEADER_BYTES != first[8]:
            return 0
        if last[13] - first[13] != whole - 1 or last[4] - first[4] != whole - 1:
            return 0
        # Everything but packet number and index must be alike, and these must count up by one.
        heads = rows[:, :HEADER_BYTES]
        alike = np.array_equal(heads[1:, :12], heads[:-1, :12]) and np.array_equal(
            heads[1:, 20:44], heads[:-1, 20:44]
        )
        steps = np.diff(heads[:, 12:20].view(">u8")[:, 0].astype(np.int64))
        if not alike or first[11] or not (steps == 1).all():
            return 0
        if not (np.diff(heads[:, 44:48].view(">u4")[:, 0].astype(np.int64)) == 1).all():
            return 0
        shape_fields = first[7:11]
        assembly = self._messages.run(first[5], shape_fields)
        if assembly is None or not assembly.add_run(first[13], rows[:, HEADER_BYTES:]):
            return 0
        self._arrived(first[4], now)
        self._arrived(last[4], now, skipped=0)
        self._note(whole, whole * segment, first[12])
        finished += self._messages.after_run(first[5], assembly)
        return whole

    def _note(self, count: int, nbytes: int, rtt: int) -> None:
        counters = self.counters
        counters.datagrams += count
        counters.bytes += nbytes
        self._unreported_bytes += nbytes
        if rtt:
            self._rtt_s = rtt * 1e-4

    def _arrived(self, packet: int, now: float, skipped: int | None = None) -> None:
        """Keep account of packet numbers: which are missing, which came too late."""
        if packet > self._largest:
            gap = packet - self._largest - 1 if skipped is None else skipped
            self.counters.missing += gap
            self._largest = packet
            self._largest_at = now
        else:
            self.counters.reordered += 1
            self.counters.missing = max(0, self.counters.missing - 1)

    # --- time ------------------------------------------------------------------------------------

    def _look_for_gaps(self, now: float) -> None:
        if self._ask_at is None and self.greeting.retransmit and self._messages.gap:
            self._ask_at = now + min(max(self._rtt_s / 8, _SOON_S), 0.02)

    def opened(self, now: float) -> None:
        """There is room for messages again: the sender shall know."""
        self.blocked = False
        self._report_at = now

    def report_now(self, now: float) -> None:
        """The sender shall hear of us."""
        self._report_at = now

    @property
    def timer(self) -> float | None:
        """When `poll` or `expire` has something to do."""
        times = (self._report_at, self._ask_at, self._messages.next_expiry)
        return min((t for t in times if t is not None), default=None)

    def expire(self, now: float) -> list[Finished]:
        """Messages past their deadline: those that are delivered in part."""
        before = self._messages.given_up
        finished = self._messages.expire(now)
        if self._messages.given_up != before:
            self._report_at = now
        return finished

    def poll(self, now: float) -> list[bytes]:
        """Datagrams to send back now."""
        due = self._report_at is not None and self._report_at <= now
        asking = self._ask_at is not None and self._ask_at <= now
        if not due and not asking:
            return []
        missing = self._ask(now) if asking else []
        self._report_at = None
        self._unreported_bytes = 0
        return self._write(missing, now)

    def _ask(self, now: float) -> list[control.Missing]:
        self._ask_at = None
        if not self.greeting.retransmit:
            return []
        again_s = 1.5 * self._rtt_s + 0.005 if self._rtt_s else _AGAIN_UNKNOWN_S
        missing = self._messages.wanted(now, again_s)
        if self._messages.gap:
            self._ask_at = now + again_s
        return missing

    def _write(self, missing: list[control.Missing], now: float) -> list[bytes]:
        """As many reports as what is missing takes."""
        done = self._messages.done_bits()
        reports: list[bytes] = []
        while len(reports) < _MAX_REPORTS and (missing or not reports):
            entries: list[control.Missing] = []
            room = control.REPORT_BYTES - 80 - len(done)
            while missing and control.missing_bytes(missing[0]) <= room:
                room -= control.missing_bytes(missing[0])
                entries.append(missing.pop(0))
            reports.append(control.report(self.session, self._report(done, entries, now)))
        return reports

    def _report(self, done: bytes, missing: list[control.Missing], now: float) -> control.Report:
        self._reports += 1
        return control.Report(
            number=self._reports,
            largest=self._largest,
            datagrams=self._largest - self.counters.missing,
            received_bytes=self.counters.bytes,
            held_us=min(int((now - self._largest_at) * 1e6), 2**32 - 1),
            arrived_us=int(self._largest_at * 1e6),
            window_bytes=0 if self.blocked else self._window,
            floor=self._messages.floor,
            given_up=self._messages.given_up,
            done=done,
            missing=missing,
        )

    def end_asked(self) -> bool:
        """Whether the sender has asked for the last word since this was asked."""
        asked, self._end_asked = self._end_asked, False
        return asked

    @property
    def ended(self) -> bool:
        """Whether the sender has said its last word and all before it is done with."""
        return self._last is not None and self._messages.floor >= self._last
