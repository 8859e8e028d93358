"""A figure of this machine that is measured when it is first asked for, and kept for good.

Kept with what names the machine's processor and, where it matters, more: what was measured of
another, or by another measurement, is measured anew. Must not know: what it is a figure of.
"""

from __future__ import annotations

import json
import platform
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path


class Once:
    """One figure.

    Args:
        file: Where it is kept.
        version: Of the measurement.
        measure: Measures it, blocking; raises `OSError` or `ValueError` where it can't.
        of: What it holds for, beside the processor.
    """

    def __init__(
        self, file: Path, version: int, measure: Callable[[], float], *, of: str = ""
    ) -> None:
        self._file = file
        self._measure = measure
        self._held = {"version": version, "of": of}
        self._lock = threading.Lock()
        self._known: float | None = None
        self._looked = False

    @property
    def known(self) -> float | None:
        """As it was measured before; None: it never was, on such a machine."""
        if not self._looked:
            self._looked = True
            with suppress(OSError, ValueError, TypeError, KeyError):
                kept = json.loads(self._file.read_text())
                if all(kept[name] == value for name, value in self._stamp().items()):
                    self._known = float(kept["value"])
        return self._known

    def value(self) -> float | None:
        """Blocking if it has to be measured; None: it can't be."""
        with self._lock:
            if self.known is None:
                with suppress(OSError, ValueError):
                    self._known = self._measure()
                    self._keep(self._known)
            return self._known

    def _stamp(self) -> dict[str, object]:
        """What it is kept with."""
        return {"cores": cores(), **self._held}

    def _keep(self, value: float) -> None:
        kept = {**self._stamp(), "value": value, "measured": time.time()}
        fresh = self._file.with_name(f"{self._file.name}.new")
        with suppress(OSError):  # a full disk: it is measured again next time
            fresh.write_text(json.dumps(kept))
            fresh.replace(self._file)


@cache
def cores() -> str:
    """What names the kind of this machine's cores."""
    with suppress(OSError):
        return processor(Path("/proc/cpuinfo").read_text(), platform.machine())
    return platform.machine()


def processor(cpuinfo: str, machine: str) -> str:
    """The same, from /proc/cpuinfo and `uname -m`."""
    told: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    names = ("model name", "CPU implementer", "CPU part", "cpu family", "model", "stepping")
    return " ".join(filter(None, (machine, *(told.get(name, "") for name in names))))
