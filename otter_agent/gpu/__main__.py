"""The reader: `python -m otter_agent.gpu FOLDER`; for each line on stdin a `Line` with the state.

A line that holds a `LimitOrder` is answered with a `Limit`. News come in between, as they happen.
Its first line is empty: it has begun, and goes on to ask the driver.
It ends when its stdin ends, or with status 3 where there is no driver to ask (the reason is its
last line). FOLDER is for whoever lists processes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pynvml

from otter_agent import api
from otter_agent.gpu import limits, nvml, xid
from otter_agent.gpu.words import LimitOrder, Line, News

GONE = 3
WAIT_MS = 1000
"""For an event; after that it is looked whether all GPUs are still there."""

_writing = threading.Lock()


def main() -> int:
    """Read until nobody asks any more."""
    _say(Line())
    try:
        with nvml.opened():
            # Looked up before the first answer: what is lost after that is told as a loss.
            there = nvml.answering()
            threading.Thread(target=_listen, args=(there,), daemon=True).start()
            for order in _orders():
                if order:
                    _say(Line(limit=limits.do(api.decode(order, LimitOrder))))
                else:
                    _say(Line(state=nvml.read()))
    except nvml.Gone as error:
        _say(Line(state=api.GpuState(why=str(error))))
        return GONE
    return 0


def _orders() -> Iterator[bytes]:
    """Lines of stdin. `sys.stdin` has a lock; held at the end, that is fatal to Python."""
    data = b""
    while part := os.read(0, 1 << 16):
        *lines, data = (data + part).split(b"\n")
        yield from lines


def _say(line: Line) -> None:
    data = api.encode(line) + b"\n"
    with _writing:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


# --- news ----------------------------------------------------------------------------------------


def _listen(there: dict[int, str]) -> None:
    """Tell of errors, and of GPUs that go and come, for ever.

    Args:
        there: Those that could be asked when it began.
    """
    while True:
        with _heard(there) as heard:
            while True:
                event = _next(heard)
                if event is not None:
                    _tell_error(event, there)
                now = nvml.answering()
                if _differ(there, now):
                    there = now
                    break


def _differ(before: dict[int, str], now: dict[int, str]) -> bool:
    for index in sorted(before.keys() - now.keys()):
        why = f"GPU {index} answers no more"
        _say(Line(news=News(kind="lost", index=index, uuid=before[index], text=why)))
    for index in sorted(now.keys() - before.keys()):
        why = f"GPU {index} answers"
        _say(Line(news=News(kind="back", index=index, uuid=now[index], text=why)))
    return before != now


@contextmanager
def _heard(there: dict[int, str]) -> Iterator[Any]:
    """A set of the events that the driver tells; None where it tells none (as on Jetson)."""
    heard, telling = None, 0
    with suppress(pynvml.NVMLError):
        heard = pynvml.nvmlEventSetCreate()
    for index in there if heard is not None else ():
        with suppress(pynvml.NVMLError):  # one that tells none silences no other
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, heard)
            telling += 1
    try:
        yield heard if telling else None
    finally:
        if heard is not None:
            with suppress(pynvml.NVMLError):  # the driver went
                pynvml.nvmlEventSetFree(heard)


def _next(heard: Any) -> Any:
    if heard is not None:
        try:
            return pynvml.nvmlEventSetWait_v2(heard, WAIT_MS)
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                return None
    time.sleep(WAIT_MS / 1000)
    return None


def _tell_error(event: Any, there: dict[int, str]) -> None:
    number, index = int(event.eventData), None
    with suppress(pynvml.NVMLError):
        index = int(pynvml.nvmlDeviceGetIndex(event.device))
    where, uuid = ("a GPU", "") if index is None else (f"GPU {index}", there.get(index, ""))
    text = f"{where}: {xid.text(number)}"
    _say(Line(news=News(kind="xid", index=index, uuid=uuid, xid=number, text=text)))


if __name__ == "__main__":
    sys.exit(main())
