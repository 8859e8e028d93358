"""NVIDIA's MPS on this machine: its control daemon is started, asked and ended here. Blocking.

The daemon outlives the agent, as modules do that compute through it; the next agent finds it by its
pipe directory, which is the agent's own. A client that doesn't reach it runs without any limit and
says nothing: so it is asked whether it answers, again and again (`checking.py`).

A server of MPS is one user's, and there is one: a client of another user waits, in its first call
of CUDA, until all of the first one's have ended. So the daemon is asked to let all users share a
server, whose clients then all count as root's, and the fatal error of one may end those of each.
One that doesn't know that (older ones, and Tegra's) serves root's clients alone.

Source: NVIDIA, Multi-Process Service, "Architecture", "Tools and Interface Reference",
nvidia-cuda-mps-control(1).
Must not know: modules, meshes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from otter_agent import beneath
from otter_agent.beside import ended, open_pid

PROGRAM = "nvidia-cuda-mps-control"
FOR_ALL = "-multiuser-server"
PID_FILE = f"{PROGRAM}.pid"
"""In the pipe directory, by the daemon."""
_ANSWER_S = 5.0
_START_S = 5.0
_END_S = 10.0
_LOOK_S = 0.02
_PID_BYTES = 32
_WSL = Path("/dev/dxg")


class Mps:
    """The control daemon of one agent.

    Args:
        folder: For its pipes and its logs.
        path: Where programs are looked for; None: as the agent's `PATH` says.
    """

    def __init__(self, folder: Path, path: str | None = None) -> None:
        self.pipe = folder / "pipe"
        self._log = folder / "log"
        self._begun = folder / "pid"
        """Where no module writes, as they may where the pipes are."""
        self._path = path
        self._turn = threading.RLock()
        """Of who starts or ends it: two beside each other would end what the other has begun."""

    def lack(self) -> str:
        """Why it can't be had here; "" if it may be."""
        if _WSL.exists():
            return "there is no MPS in WSL2"
        if self._program() is None:
            return f"{PROGRAM} isn't installed"
        return "" if os.geteuid() == 0 else "only root's agent has one"

    def start(self) -> str:
        """See that it runs; why it doesn't, or ""."""
        if why := self.lack():
            return why
        with self._turn:
            if not self.trouble():
                return ""
            self.end()
            return self._begin()

    def _begin(self) -> str:
        for folder in (self.pipe, self._log):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if self._launch("-d", FOR_ALL) and (why := self._launch("-d")):
            return why
        began = time.monotonic()
        while why := self.trouble():
            if time.monotonic() - began > _START_S:
                return why
            time.sleep(_LOOK_S)
        with suppress(OSError):  # a full disk: it is known by its own file
            self._begun.write_text(str(self.pid()))
        return ""

    def _launch(self, *words: str) -> str:
        """Why it doesn't begin, or ""."""
        command = " ".join((PROGRAM, *words))
        try:
            done = self._run(words, "")
        except (OSError, subprocess.SubprocessError) as error:
            return f"{command}: {error}"
        if done.returncode:
            return f"{command}: {_last(done.stdout) or f'exit status {done.returncode}'}"
        return ""

    def serves_all(self) -> bool:
        """Whether clients of several users are served beside each other; else root's alone."""
        pid = self.pid()
        return pid is not None and FOR_ALL.encode() in _words(pid)

    def trouble(self) -> str:
        """Why clients don't reach it; "" if it answers."""
        if self.pid() is None:
            return "its control daemon doesn't run"
        try:
            done = self._run([], "get_server_list\n")
        except subprocess.TimeoutExpired:
            return f"its control daemon hasn't answered for {_ANSWER_S:g} s"
        except OSError as error:
            return f"{PROGRAM}: {error.strerror or error}"
        if done.returncode:
            return f"its control daemon doesn't answer: {_last(done.stdout) or 'no word'}"
        return ""

    def pid(self) -> int | None:
        """The daemon's; None: it doesn't run."""
        for file in (self._begun, self.pipe / PID_FILE):
            with suppress(OSError, ValueError):
                pid = int(_small(file))
                named = any(word.endswith(PROGRAM.encode()) for word in _words(pid))
                if named and self._is_ours(pid):
                    return pid
        return None

    def _is_ours(self, pid: int) -> bool:
        """A pid can be another process's by now, or another daemon's."""
        mark = f"CUDA_MPS_PIPE_DIRECTORY={self.pipe}".encode()
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")

    def end(self) -> None:
        """Tell it to end, with its servers; kill it if it doesn't. Its folders go."""
        with self._turn:
            if (watched := open_pid(self.pid())) is not None:
                try:
                    with suppress(OSError, subprocess.SubprocessError):
                        self._run([], "quit\n")
                    if not ended(watched, _END_S):
                        signal.pidfd_send_signal(watched, signal.SIGKILL)
                        ended(watched, _END_S)
                finally:
                    os.close(watched)
            shutil.rmtree(self.pipe.parent, ignore_errors=True)

    def _program(self) -> str | None:
        return shutil.which(PROGRAM, path=self._path)

    def _run(self, words: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # `-d` leaves: it is nobody's child, and holds no descriptor of ours
            [self._program() or PROGRAM, *words], input=text, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_ANSWER_S, cwd="/",
            env={**self._environment(), "PATH": self._path or os.environ.get("PATH", os.defpath)},
            start_new_session=True, check=False,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "NVIDIA_"))}
        return {
            **kept,
            "CUDA_MPS_PIPE_DIRECTORY": str(self.pipe),
            "CUDA_MPS_LOG_DIRECTORY": str(self._log),
        }


def _words(pid: int) -> Sequence[bytes]:
    """What a process was started with; nothing of one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ()


def _small(path: Path) -> bytes:
    """The beginning of a file that a module may have put there: a pipe, or one without an end.

    Raises:
        OSError: It is none, or a link, or no plain file.
    """
    at = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fd = beneath.open_file(at)
    finally:
        os.close(at)
    try:
        return os.read(fd, _PID_BYTES)
    finally:
        os.close(fd)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
