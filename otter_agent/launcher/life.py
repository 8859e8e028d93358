"""One life of one module, from fork to the end of all that it left behind.

    starting ─► held ─► running ─► ending (main process gone, others are killed) ─► over

Each step is on disk before anyone is told of it. Knows the loop, not the socket.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from otter_agent.cgroups import members
from otter_agent.launcher import child, records
from otter_agent.launcher.loop import Loop
from otter_agent.launcher.records import Life, Work

Reply = Callable[[dict[str, Any]], None]
"""Takes `{"ok": …}` or `{"error": …}`."""
ENDING_WITHIN_S = 10.0
"""What survives SIGKILL this long hangs in the kernel; the module then counts as over."""


class ModuleLife:
    """A module that starts, is held, runs or ends.

    Args:
        loop: The launcher's.
        folder: Where its records are.
        work: What to run.
        boot: The machine's boot id.
        over: Called once, when it is over and that is on disk.
    """

    def __init__(
        self, loop: Loop, folder: str, work: Work, boot: str, over: Callable[[ModuleLife], None]
    ) -> None:
        self.work = work
        self.phase = "starting"
        self.pid = 0
        self.started = 0
        self._parent = os.getpid()
        self._loop, self._folder, self._boot, self._over = loop, folder, boot, over
        self._exit: int | None = None
        self._oom = False
        self._oom_before = 0
        self._hold = self._status = -1
        self._said = b""
        """What it wrote to the status pipe instead of being held."""
        self._pidfd = -1
        self._killing = members.Kill(work["kill"])
        self._waiting: list[Reply] = []
        self._at_end: list[Reply] = []

    # --- beginnings ------------------------------------------------------------------------

    def fork(self, reply: Reply, secrets: int = -1) -> None:
        """Start it; replies once it is held or could not be. `secrets`: see `child.module`."""
        self._waiting.append(reply)
        self._oom_before = members.oom_kills(self.work["oom"])
        hold, self._hold = os.pipe()
        self._status, status = os.pipe()
        try:
            self.pid = os.fork()
            if self.pid == 0:
                child.module(self.work, hold, status, secrets)
        except OSError:
            self._close_pipes()
            raise
        finally:
            os.close(hold)
            os.close(status)
        self.started = records.start_time(self.pid) or 0
        self._loop.on_readable(self._status, self._on_status)

    def adopt(self, life: Life) -> None:
        """Take over what an earlier launcher started; its exit status can't be known."""
        self.pid, self.started, self.phase = life["pid"], life["started"], life["phase"]
        self._exit, self._oom, self._parent = life["exit"], life["oom"], life["parent"]
        if self.phase != "ending" and records.alive(life, self._boot):
            with contextlib.suppress(ProcessLookupError):
                self._pidfd = os.pidfd_open(self.pid)
        if self._pidfd >= 0 and records.alive(life, self._boot):
            self._loop.on_readable(self._pidfd, lambda: self.ended(None))
        else:
            self.ended(self._exit)

    def when_held(self, reply: Reply) -> None:
        """Reply as soon as it is held, or at once if it is further."""
        if self.phase == "starting":
            self._waiting.append(reply)
        else:
            reply({"ok": self.view()})

    def when_over(self, reply: Reply) -> None:
        """Reply once it is over."""
        self._at_end.append(reply)

    def release(self, reply: Reply) -> None:
        """Let the module's own code start; replies once it did."""
        if self.phase == "held" and self._hold >= 0:
            self.phase = "running"
            self._record()  # first: once released, it must never look held
            self._waiting.append(reply)
            os.write(self._hold, b"x")
            os.close(self._hold)
            self._hold = -1
        elif self.phase == "running" and self._status >= 0:
            self._waiting.append(reply)
        elif self.phase == "running":
            reply({"ok": self.view()})
        else:
            reply({"error": f"it is {self.phase}, not held", "recoverable": True})

    def view(self) -> Life:
        """The record of this life."""
        return {"phase": self.phase, "pid": self.pid, "started": self.started, "boot": self._boot,
                "parent": self._parent, "exit": self._exit, "oom": self._oom}  # fmt: skip

    def _on_status(self) -> None:
        data = os.read(self._status, 4096)
        if data == child.HELD:
            self.phase = "held"
            self._record()
            self._answer({"ok": self.view()})
            return
        if data:
            self._said = data
            return  # the end of the process follows
        self._close_status()
        if self.phase == "running":
            self._answer({"ok": self.view()})

    # --- the end ---------------------------------------------------------------------------

    def stop(self, grace_s: float, reply: Reply) -> None:
        """SIGTERM, and SIGKILL to all after `grace_s`; replies when it is over."""
        self._at_end.append(reply)
        if self.phase in ("ending", "exited"):
            return
        if self.phase != "running" or grace_s <= 0:
            self._kill()
            return
        self._signal(signal.SIGTERM)
        self._loop.call_later(grace_s, self._kill)

    def ended(self, status: int | None) -> None:
        """The main process is gone (and not reaped yet, if it is ours): end the rest."""
        if self.phase == "starting":
            self._failed()
            return
        self._exit = status
        if status == 128 + signal.SIGKILL:
            self._oom = members.oom_kills(self.work["oom"]) > self._oom_before
        self._close_pipes()
        if self._killing.step():
            self._finished()
            return
        self.phase = "ending"
        self._record()
        self._finish(time.monotonic() + ENDING_WITHIN_S)

    def _finish(self, deadline: float) -> None:
        if self._killing.step() or time.monotonic() > deadline:
            self._finished()
        else:
            self._loop.call_later(0.002, lambda: self._finish(deadline))

    def _finished(self) -> None:
        self.phase = "exited"
        self._record()
        self._loop.call_later(0, self._announce)  # by then its zombie is gone too

    def _announce(self) -> None:
        self._over(self)
        answer = {"ok": self.view()}
        self.phase = "over"
        self._answer(answer)
        self._tell(self._at_end, answer)

    def _failed(self) -> None:
        """It never was held: there is no life to record."""
        text = self._said
        if self._status >= 0 and not text:
            os.set_blocking(self._status, False)
            with contextlib.suppress(BlockingIOError):
                text = os.read(self._status, 4096)
        self._close_pipes()
        self.phase = "over"
        self._over(self)
        why = text.replace(child.HELD, b"").decode(errors="replace").strip()
        why = why or "its process was killed before it was set up"
        self._answer({"error": why, "recoverable": False})
        self._tell(self._at_end, {"ok": {**self.view(), "phase": "exited"}})

    def _kill(self) -> None:
        if self.phase in ("ending", "exited", "over"):
            return
        self._killing.step()
        self._signal(signal.SIGKILL)  # it may not have entered its group yet

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, number)
            else:
                os.kill(self.pid, number)

    # --- small change ----------------------------------------------------------------------

    def _record(self) -> None:
        """A full disk must not end the launcher: it goes on from memory, and says so."""
        path = f"{self._folder}/{records.LIFE}"
        try:
            records.write(path, self.view())
        except FileNotFoundError:
            pass  # the agent removed it meanwhile
        except OSError as exc:
            sys.stderr.write(f"{path}: could not be written: {exc.strerror}\n")

    def _answer(self, answer: dict[str, Any]) -> None:
        self._tell(self._waiting, answer)

    def _tell(self, replies: list[Reply], answer: dict[str, Any]) -> None:
        told, replies[:] = list(replies), []
        for reply in told:
            reply(answer)

    def _close_status(self) -> None:
        if self._status >= 0:
            self._loop.forget(self._status)
            os.close(self._status)
            self._status = -1

    def _close_pipes(self) -> None:
        self._close_status()
        for fd in (self._hold, self._pidfd):
            if fd >= 0:
                self._loop.forget(fd)
                os.close(fd)
        self._hold = self._pidfd = -1
