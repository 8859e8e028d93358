"""How a process keeps its time on a busy machine, without taking the machine for itself.

Memory is locked, the garbage collector off, and the process runs before all ordinary ones
(SCHED_FIFO) as long as it uses less than most of a core; when it is busier than that, twice in a
row, it becomes an ordinary one until it has caught up, and the kernel says (RLIMIT_RTTIME) if it
hasn't waited for anything for long. Once tells nothing: what a virtual machine's processor was
taken away for is charged to whoever ran there. Source: sched(7), mlockall(2), getrlimit(2),
timerfd_create(2).
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import struct
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

_PRIORITY = 10
_NICE = -15
_WINDOW_S = 0.1
_TICK_S = 0.0005
_BUSY, _CALM, _LEISURE = 0.8, 0.5, 0.3
_LONGEST_US = 200_000
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT_BYTES = 16 << 20
_CAP_IPC_LOCK = 14
_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK, _TFD_CLOEXEC, _TFD_ABSTIME = os.O_NONBLOCK, os.O_CLOEXEC, 1
_ITIMERSPEC = struct.Struct("=qqqq")

_libc = ctypes.CDLL(None, use_errno=True)


def counts_in_ticks() -> bool:
    """Whether CPU time is told by sampling (user-mode Linux, each 10 ms) instead of measured.

    A process that wakes in step with the samples is then told to use nothing, or all of a core.
    """
    begun = time.process_time()
    while (step := time.process_time() - begun) == 0.0:
        pass
    return step > _TICK_S


def settle() -> None:
    """Lock memory, keep it, and stop collecting garbage: none of that shall hold a packet up."""
    with suppress(AttributeError):  # what is given back is to be had page by page again
        _libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        _libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    gc.collect()
    gc.freeze()
    gc.disable()
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY,) * 2)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY or _may_lock():
        _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE)
    # Where it isn't allowed, pages may come late; up to a limit, none would come beyond that.


def _may_lock() -> bool:
    """Whether limits don't count: a right of the machine's, no user namespace's (mlock(2))."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        rights = next(line.split()[1] for line in lines if line.startswith("CapEff"))
        whole = Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(0xFFFFFFFF)]
        return whole and bool(int(rights, 16) >> _CAP_IPC_LOCK & 1)
    return False


class Guard:
    """Runs before ordinary processes while that starves nobody.

    Attributes:
        first: Whether it does so now.
        calm: Whether it has time to waste: it used little of a core lately.
    """

    def __init__(self, now: float, used: float) -> None:
        self.first = False
        self.calm = True
        self._allowed = True
        self._busy = False
        self._until = now + _WINDOW_S
        self._since, self._used = now, used
        signal.signal(signal.SIGXCPU, self._too_long)
        with suppress(OSError, ValueError):
            hard = resource.getrlimit(resource.RLIMIT_RTTIME)[1]
            resource.setrlimit(resource.RLIMIT_RTTIME, (_LONGEST_US, hard))
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        self._go_first()

    def due(self, now: float) -> bool:
        """Whether to `look`."""
        return now >= self._until

    def look(self, now: float, used: float) -> None:
        """Decide anew; `used`: CPU seconds of this process."""
        share = (used - self._used) / max(now - self._since, 1e-9)
        self._since, self._used, self._until = now, used, now + _WINDOW_S
        self.calm = share < _LEISURE
        was_busy, self._busy = self._busy, share > _BUSY
        if self.first and was_busy and self._busy:
            self._stand_back()
        elif not self.first and share < _CALM:
            self._go_first()

    def _go_first(self) -> None:
        if self._allowed:
            flags = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
            try:
                os.sched_setscheduler(0, flags, os.sched_param(_PRIORITY))
            except OSError:
                self._allowed = False
            else:
                self.first = True

    def _stand_back(self) -> None:
        self.first = False
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    def _too_long(self, number: int, frame: FrameType | None) -> None:
        self._stand_back()


class Timer:
    """A timer to wait for beside descriptors, exact to the kernel's own."""

    def __init__(self) -> None:
        self.descriptor = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self.descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._set_for: float | None = None
        self._value = ctypes.create_string_buffer(_ITIMERSPEC.size)

    def set(self, at: float) -> None:
        """Be readable from `at` on (monotonic seconds).

        Infinite: never; minus infinite: at once.
        """
        if at == self._set_for:
            return
        self._set_for = at
        nanoseconds = 0 if at == float("inf") else int(max(1.0, at * 1e9))
        _ITIMERSPEC.pack_into(self._value, 0, 0, 0, *divmod(nanoseconds, 1_000_000_000))
        _libc.timerfd_settime(self.descriptor, _TFD_ABSTIME, self._value, None)

    def clear(self) -> None:
        """Take note that its time has come."""
        self._set_for = None
        with suppress(BlockingIOError):
            os.read(self.descriptor, 8)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)
