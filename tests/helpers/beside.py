"""Runs tests of a session in other processes beside it: in the guest kernel, or in a pytest of
their own on some of the processors.

    python -m tests.helpers.beside FOLDER PROCESSOR...

A job is one pytest run, in a folder of its own below FOLDER: its `kind`, the node ids in `tests`,
the `processors` it is to have if these aren't the lane's; afterwards its `output`, its `reports` (a
JSON document a line) and its `status`. A lane, which is a process as above, takes one job after the
other that no other lane has `claimed`. Lanes are no threads of the session's process, as tests
change its environment and fork it.

Must not know: which tests, and what is made of their reports.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
GUEST, ASIDE = "guest", "aside"
REPORTS = "OTTER_TEST_REPORTS"
"""The variable that names the file where a job's pytest writes its reports."""
KEPT = "OTTER_TEST_KEPT"
"""The variable that names a folder for what is made once in a session, and used by several of its
processes; not by those in the guest."""
CANNOT_BOOT = 125
LIMIT_S = 3000
"""Of a guest. Other jobs are as long as their tests, each of which has its own."""
END_S = 60.0
_PR_SET_PDEATHSIG = 1


class Job:
    """What is known of one by its folder.

    Attributes:
        told_of: The test whose report has the job's own trouble; empty: none has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told_of = ""

    def read(self, name: str) -> str:
        """One of its files; "" if it isn't there."""
        try:
            return (self.folder / name).read_text(errors="replace").strip()
        except FileNotFoundError:
            return ""

    @property
    def no_guest(self) -> bool:
        """Whether it ended because there is none at all."""
        return self.read("status") == str(CANNOT_BOOT) and not self.read("reports")

    @property
    def trouble(self) -> str:
        """Why it has told nothing of a test."""
        said = self.read("output") or self.read("../lanes") or "nothing was said"
        how = f"status {self.read('status') or 'unknown'}"
        return said if self.no_guest else f"the {self.read('kind')}'s pytest ended, {how}:\n{said}"


class Lanes:
    """The session's side: its jobs, and the lanes that work through them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="otter-beside-")
        self._lanes: list[subprocess.Popen[bytes]] = []
        self.jobs: list[Job] = []
        self.kept = Path(self._folder.name, "kept")
        self.kept.mkdir()

    def add(self, kind: str, tests: Sequence[str], processors: Iterable[int] = ()) -> None:
        """A job more, on its lane's processors or on these; the first ones are begun first."""
        folder = Path(self._folder.name, f"{len(self.jobs):03}")
        folder.mkdir()
        (folder / "kind").write_text(kind)
        (folder / "tests").write_text("\n".join(tests) + "\n")
        (folder / "processors").write_text(",".join(map(str, processors)))
        self.jobs.append(Job(folder))

    def open(self, processors: Iterable[int]) -> None:
        """A lane more, on these; a guest takes the highest that no other guest has."""
        argv = [sys.executable, "-m", "tests.helpers.beside", self._folder.name]
        with Path(self._folder.name, "lanes").open("ab") as said:
            lane = subprocess.Popen(
                [*argv, *map(str, processors)], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said,
                stderr=said, start_new_session=True,  # Ctrl-C comes from `end`, once
            )  # fmt: skip
        self._lanes.append(lane)

    def join(self) -> None:
        """Wait until there is no job left."""
        for lane in self._lanes:
            lane.wait()

    def end(self) -> None:
        """No job is begun any more, those that run are ended, and what is theirs is gone."""
        for lane in self._lanes:
            if lane.poll() is None:
                lane.terminate()
        for lane in self._lanes:
            try:
                lane.wait(2 * END_S)
            finally:
                lane.kill()

    def close(self) -> None:
        """Take the folder away, and what jobs have said with it."""
        self.end()
        self._folder.cleanup()


# --- a lane -----------------------------------------------------------------------------------


def main() -> int:
    """Work through the jobs."""
    folder, *processors = sys.argv[1:]
    signal.signal(signal.SIGTERM, _interrupt)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        for job in sorted(Path(folder).glob("[0-9]*")):
            try:
                (job / "claimed").mkdir()
            except FileExistsError:
                continue
            _run(Job(job), processors)
    except KeyboardInterrupt:
        return 130
    return 0


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, lambda *_: None)
    raise KeyboardInterrupt


def _run(job: Job, processors: Sequence[str]) -> None:
    """One job, to its end or to ours."""
    folder, guest = job.folder, job.read("kind") == GUEST
    env = {**os.environ, REPORTS: str(folder / "reports")}
    pytest = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT]
    pytest += ["-p", "no:cacheprovider", f"@{folder / 'tests'}"]
    if guest:
        before = [sys.executable, "-m", "tests.kernel.guest", "--with-parent", "--share", folder]
        before += ["--limit", LIMIT_S, "--"]
        env.pop(KEPT, None)
    else:
        its = job.read("processors") or ",".join(processors)
        before = ["setpriv", "--pdeathsig", "INT", "taskset", "-c", its]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in (*before, *pytest)], stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, env=env, start_new_session=True,
        )  # fmt: skip
    try:
        (folder / "status").write_text(str(process.wait()))
    finally:
        if process.poll() is None:  # it takes along all that it has made
            process.send_signal(signal.SIGTERM if guest else signal.SIGINT)
            try:
                process.wait(END_S)
            finally:
                process.kill()


if __name__ == "__main__":
    sys.exit(main())
