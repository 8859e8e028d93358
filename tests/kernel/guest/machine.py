"""One guest: its control folder, its process, its output and exit status.

The control folder is shared with the guest, read-write. Into it go busybox, the two scripts,
`settings` and `run` (the command); from it come `booted` and `status`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .parts import HERE, GuestError, Parts, claim_processor, default_cache, prepare

TIMED_OUT = 124
"""Exit status when the time limit ran out, as timeout(1) has it."""

HANDED_ON = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TERM", "VIRTUAL_ENV", "CI", "NO_COLOR"}
HANDED_ON_PREFIXES = ("OTTER_", "PIP_", "PYTEST_", "PYTHON")

# The kernel does not save AVX-512 registers around signal handlers: keep the C library off them.
NO_AVX512 = "glibc.cpu.hwcaps=" + ",".join(
    f"-AVX512{unit}" for unit in ("F", "VL", "BW", "CD", "DQ")
)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run in a guest.

    Attributes:
        command: Program and arguments.
        cwd: Where it starts.
        share: The folder that the guest may write to for good.
        env: Variables beyond those handed on from this process.
        memory_mib: The guest's memory; taken from the machine as the guest uses it.
        limit_s: Time limit, boot included.
        verbose: Print the kernel's log afterwards.
    """

    command: Sequence[str]
    cwd: Path
    share: Path
    env: Mapping[str, str]
    memory_mib: int = 3072
    limit_s: float = 900.0
    verbose: bool = False


def run(job: Job, stdout: BinaryIO, stderr: BinaryIO, cache: Path | None = None) -> int:
    """Boot a guest, run the job in it and return the job's exit status (124: out of time).

    Raises:
        GuestError: It could not be prepared, did not boot, or died under the command.
    """
    cache = cache or default_cache()
    parts = prepare(cache)
    control = Path(tempfile.mkdtemp(prefix="otter-guest-"))
    number, lock = claim_processor(cache)
    try:
        _fill(control, job, parts)
        ended = _boot(job, parts, control, number, stdout, stderr)
        if job.verbose:
            stderr.write(_read(control / "console").encode())
        return _status(control, job) if ended else TIMED_OUT
    finally:
        if lock is not None:
            lock.close()
        shutil.rmtree(control, ignore_errors=True)


def _fill(control: Path, job: Job, parts: Parts) -> None:
    """Write what the guest reads."""
    (control / "w").mkdir()
    shutil.copy2(parts.busybox, control / "busybox")
    for script in ("init.sh", "command.sh"):
        shutil.copy(HERE / script, control / script)
    settings = {"share": job.share, "modules": parts.modules}
    _write(control / "settings", [f"{k}={shlex.quote(str(v))}" for k, v in settings.items()])
    kept = {
        k: v for k, v in os.environ.items() if k in HANDED_ON or k.startswith(HANDED_ON_PREFIXES)
    }
    env = {"GLIBC_TUNABLES": NO_AVX512, **kept, **job.env, "OTTER_GUEST": "1"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items())]
    lines += [f"cd {shlex.quote(str(job.cwd))} || exit 125", f"exec {shlex.join(job.command)}"]
    _write(control / "run", lines)


def _boot(
    job: Job, parts: Parts, control: Path, processor: int, stdout: BinaryIO, stderr: BinaryIO
) -> bool:
    """Run the guest to its end. False: the time limit ran out."""
    out_read, out = os.pipe()
    err_read, err = os.pipe()
    console = os.open(control / "console", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        guest = subprocess.Popen(
            _command_line(job, parts, control, processor, (out, err, console)),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            # It keeps its memory in an unlinked file, which is best on a tmpfs.
            env={**os.environ, "LD_PRELOAD": str(parts.shim), "TMPDIR": "/dev/shm"},
            pass_fds=(out, err, console),
            start_new_session=True,
        )
    finally:
        for fd in (out, err, console):
            os.close(fd)
    copies = [_copy(out_read, stdout), _copy(err_read, stderr)]
    try:
        guest.wait(job.limit_s)
    except subprocess.TimeoutExpired:
        return False
    finally:
        _end(guest)
        for copy in copies:
            copy.join(5)
    return True


def _command_line(
    job: Job, parts: Parts, control: Path, processor: int, fds: tuple[int, int, int]
) -> list[str]:
    out, err, console = fds
    return [
        "taskset", "-c", str(processor),
        # With address randomisation the random gap before its heap is added to the guest's memory.
        "setarch", "-R",
        str(parts.kernel), f"mem={job.memory_mib}M", "root=/dev/root", "rootfstype=hostfs",
        "rootflags=/", "ro", "panic=-1", f"loglevel={7 if job.verbose else 4}",
        f"uml_dir={control}", "umid=vm", "con=null", f"con0=null,fd:{console}",
        "ssl=null", f"ssl0=null,fd:{out}", f"ssl1=null,fd:{err}",
        f"init={control}/busybox", "--", "sh", f"{control}/init.sh", str(control),
    ]  # fmt: skip


def _copy(fd: int, to: BinaryIO) -> threading.Thread:
    """Copy a pipe until its end, in a thread."""

    def work() -> None:
        with os.fdopen(fd, "rb", buffering=0) as source:
            while data := source.read(1 << 16):
                to.write(data)
                to.flush()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _end(guest: subprocess.Popen[bytes]) -> None:
    """Kill the guest: it leads a process group, in which the kernel keeps its processes."""
    for _ in range(100):
        try:
            os.killpg(guest.pid, signal.SIGKILL)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    guest.wait()


def _status(control: Path, job: Job) -> int:
    status = _read(control / "status").strip()
    if status.isdigit():
        return int(status)
    when = f"under {job.command[0]}" if (control / "booted").exists() else "while booting"
    raise GuestError(
        f"the guest died {when}; its last words:\n{_read(control / 'console')[-4000:]}"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("\n".join(lines) + "\n")
