"""A pytest plugin: with `--split`, a session's tests are shared out among as many processes as it
has processors.

They are forked once all tests are collected, which takes a third of the time of small ones, and
each takes one file after the other, whole, as tests of a file share fixtures. What a session has
one of, each of them makes for itself. The first process only tells what they report, by the file.

Not for tests that judge time or need the machine to themselves. Must not know: which tests.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from multiprocessing.connection import Connection, wait
from typing import Literal

import pytest

File = list[pytest.Item]
_CONTEXT = multiprocessing.get_context("fork")
_NUMBER_BYTES = 4
END_S = 10.0
INTERRUPTED = 130


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--split`."""
    parser.addoption(
        "--split", action="store_true",
        help="share the tests' files out among as many processes as there are processors",
    )  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Runs the tests, unless one process does as well."""
    option = session.config.option
    files = [list(items) for _, items in groupby(session.items, lambda item: item.path)]
    processes = min(len(os.sched_getaffinity(0)), len(files))
    asks = option.usepdb or option.trace  # somebody at the terminal
    alone = option.beside or option.collectonly or asks or session.testsfailed
    if not option.split or alone or processes < 2:
        return None
    # All are to have the one folder: its next session takes away what is old, by this one's lock.
    session.config._tmp_path_factory.getbasetemp()
    queue, numbers = os.pipe()
    os.write(numbers, b"".join(n.to_bytes(_NUMBER_BYTES, "big") for n in range(len(files))))
    os.close(numbers)  # who reads past the last one is told so
    workers: list[Worker] = []
    try:
        workers.extend(Worker(session, files, queue) for _ in range(processes))
        _listen(session, workers, files, queue)
    finally:
        for worker in workers:
            worker.end()
        os.close(queue)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


def _taken(queue: int) -> Iterator[int]:
    """The next file's number, as often as there is one that nobody has taken."""
    while number := os.read(queue, _NUMBER_BYTES):
        yield int.from_bytes(number, "big")


def _listen(session: pytest.Session, workers: list[Worker], files: list[File], queue: int) -> None:
    """Tell of all tests, until no process is left."""
    listened_to = {worker.ear: worker for worker in workers}
    while listened_to:
        for ear in wait(list(listened_to)):
            worker = listened_to[ear]
            try:
                worker.hear(ear.recv())
            except EOFError:
                del listened_to[ear]
                worker.gone()
            if session.shouldfail or session.shouldstop:
                deque(_taken(queue), maxlen=0)
    for number in _taken(queue):
        for item in files[number]:
            tell(item, [failed(item, "no process was left to run it")])


class Worker:
    """A process, as the first one knows it."""

    def __init__(self, session: pytest.Session, files: list[File], queue: int) -> None:
        self._files = files
        # Of the tests in its hands, those that it is yet to run, and those that it has run.
        self._expected: deque[pytest.Item] = deque()
        self._done: list[tuple[pytest.Item, list[Reported]]] = []
        self._last: pytest.Item | None = None
        self.ear, mouth = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_run, args=(session, files, queue, mouth))
        with warnings.catch_warnings():
            # Of threads that a fork leaves behind: numpy's, which know of forks.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        mouth.close()

    def hear(self, told: int | list[Reported]) -> None:
        """The number of a file that it has taken, or all reports of its next test."""
        if isinstance(told, int):
            self._expected.extend(self._files[told])
            return
        self._last = item = self._expected.popleft()
        self._done.append((item, told))
        if not self._expected or self._expected[0].path != item.path:
            self._tell()

    def gone(self) -> None:
        """It says no more. If it should have, the tests in its hands have failed, or its last."""
        self._tell()
        self._process.join()
        if not (status := self._process.exitcode):
            return
        why = f"the process that was to run it has ended, status {status}"
        if not self._expected and self._last is None:
            raise RuntimeError(f"a process ended before it ran any test, status {status}")
        if not self._expected and self._last is not None:
            self._done = [(self._last, [failed(self._last, why, "teardown")])]
        self._done += [(item, [failed(item, why)]) for item in self._expected]
        self._tell()

    def end(self) -> None:
        """It is no more: whom nobody listens to ends after its test, or by the same Ctrl-C."""
        self.ear.close()
        self._process.join(END_S)
        self._process.kill()
        self._process.join()
        self._process.close()

    def _tell(self) -> None:
        for item, reported in self._done:
            tell(item, reported)
        self._done.clear()


def tell(item: pytest.Item, reported: Iterable[Reported]) -> None:
    """As if the test ran here."""
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for one in reported:
        if isinstance(one, pytest.TestReport):
            hook.pytest_runtest_logreport(report=one)
        else:
            item.config.hook.pytest_warning_recorded.call_historic(kwargs=one)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def failed(
    item: pytest.Item, why: str, when: Literal["setup", "teardown"] = "setup"
) -> pytest.TestReport:
    """The report of a test that could say nothing of it itself."""
    return pytest.TestReport(
        nodeid=item.nodeid, location=item.location, keywords={}, outcome="failed", longrepr=why,
        when=when,
    )  # fmt: skip


# --- a process of its own ---------------------------------------------------------------------

Reported = pytest.TestReport | dict[str, object]
"""A report, or the arguments of `pytest_warning_recorded`."""


def _run(session: pytest.Session, files: list[File], queue: int, mouth: Connection) -> None:
    """Run tests for as long as there are any, and tell the first process of each."""
    hooks = session.config.pluginmanager
    _leave_output(hooks)
    reporter = Reporter()
    hooks.register(reporter, "otter-split-reporter")
    reporter.reported.clear()  # warnings of before, which it is told of anew

    try:
        for number in _taken(queue):
            mouth.send(number)
            # Which file is next isn't known yet: what is of the session alone stays up until then.
            for item, following in pairwise([*files[number], session]):
                hooks.hook.pytest_runtest_protocol(item=item, nextitem=following)
                mouth.send(reporter.reported)
                reporter.reported.clear()
                if session.shouldfail or session.shouldstop:
                    return
    except KeyboardInterrupt:  # Ctrl-C, of which the first process tells, or a test's own doing
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # nobody listens any more
        return
    finally:
        session._setupstate.teardown_exact(None)


def _leave_output(hooks: pytest.PytestPluginManager) -> None:
    """The terminal is the first process's, and what is captured goes to a file of each's own."""
    capture = hooks.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
        capture.start_global_capturing()
        capture.suspend_global_capture()
    hooks.unregister(name="terminalprogress-plugin")
    terminal = hooks.unregister(name="terminalreporter")
    hooks.register(Silent(terminal), "terminalreporter")


class Silent:
    """In place of pytest's own; pytest-timeout asks it where the stacks of threads go."""

    def __init__(self, terminal: object) -> None:
        self._tw = getattr(terminal, "_tw", None)


class Reporter:
    """Keeps what is to be told."""

    def __init__(self) -> None:
        self.reported: list[Reported] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reported.append(report)

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        """In words: what else a warning has with it doesn't leave its process."""
        one = warning_message
        told = warnings.WarningMessage(str(one.message), one.category, one.filename, one.lineno)
        self.reported.append(
            {"warning_message": told, "nodeid": nodeid, "when": when, "location": location}
        )
