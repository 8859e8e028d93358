"""Reads a page with commands and files, and runs it as a reader would.

    ```console            `$ command` lines, each with the output that it shall have; `exit=N`: how
                          the last of them ends; a line `^C`: press that when all above was seen
    ```console stays      … and leave the command running when all was seen
    ```console goes-on    what it prints from then on, until a `^C`
    ```toml file=NAME     a file to write (any language)

In an output a line `…` stands for any lines, also none, and `…` in a line for any text.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from helpers.otter import wait_for

FENCE = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
DEADLINE_S = 120.0


@dataclass
class Step:
    """A file to write or a command to run, with the page's line for messages.

    Attributes:
        stays: Leave the command running once all was seen.
        command: Empty: what the one left running goes on to print.
    """

    line: int
    command: str = ""
    shown: list[str] = field(default_factory=list)
    exit: int = 0
    stays: bool = False
    file: str = ""
    content: str = ""


def steps(page: str) -> Iterator[Step]:
    """What the reader does, in order."""
    for fence in FENCE.finditer(page):
        line = page.count("\n", 0, fence.start()) + 2
        kind, *words = fence["info"].split()
        options = dict(word.partition("=")[::2] for word in words)
        if "file" in options:
            yield Step(line, file=options["file"], content=fence["body"])
        elif kind == "console" and "goes-on" in options:
            yield Step(line, shown=fence["body"].splitlines())
        elif kind == "console":
            found = list(_commands(fence["body"], line))
            found[-1].exit = int(options.get("exit", "0"))
            found[-1].stays = "stays" in options
            yield from found


def _commands(body: str, line: int) -> Iterator[Step]:
    found: list[Step] = []
    for number, text in enumerate(body.splitlines()):
        if text.startswith("$ "):
            found.append(Step(line + number, command=text[2:]))
        else:
            assert found, f"line {line + number}: output before any command"
            found[-1].shown.append(text)
    return iter(found)


def matches(shown: Sequence[str], said: str, *, whole: bool = True) -> bool:
    """Whether an output is as shown; not `whole`: whether it begins so.

    Line by line, keeping every place where what was shown so far may end: an output that doesn't
    match costs no more time than one that does.
    """
    lines = said.splitlines()
    ends = {0}
    for wanted in shown:
        if wanted == "…":
            ends = set(range(min(ends), len(lines) + 1)) if ends else set()
        else:
            text = re.compile(".*?".join(map(re.escape, wanted.rstrip().split("…"))))
            ends = {e + 1 for e in ends if e < len(lines) and text.fullmatch(lines[e].rstrip())}
    return len(lines) in ends if whole else bool(ends)


@dataclass
class _Running:
    """A command that was started, and how much of its output was looked at."""

    child: subprocess.Popen[bytes]
    output: IO[bytes]
    seen: int = 0

    def said(self) -> str:
        """What it printed since."""
        return os.pread(self.output.fileno(), 1 << 24, self.seen).decode(errors="replace")

    def until(self, shown: Sequence[str], where: str) -> None:
        """Wait until it has printed what is shown."""

        def seen() -> bool:
            ended = self.child.poll() is not None
            if matches(shown, self.said(), whole=False):
                return True
            assert not ended, f"{where}: it ended\n{self.said()}"
            return False

        wait_for(seen, f"{where} to print what stands there\n{self.said()}", DEADLINE_S)
        self.seen += len(self.said().encode())

    def end(self) -> None:
        """Whatever happened, it doesn't outlive the test."""
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        self.output.close()


@dataclass
class Reader:
    """Runs steps in a folder, keeping its place as a shell does; one may be left running."""

    folder: Path
    env: Mapping[str, str]
    left: _Running | None = None

    def do(self, step: Step) -> None:
        """Write the file, or run the command and compare."""
        if step.file:
            path = self.folder / step.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.content)
        elif step.stays or not step.command or "^C" in step.shown:
            self._watch(step)
        else:
            self._run(step)

    def close(self) -> None:
        """End what was left running."""
        if self.left is not None:
            self.left.end()

    def _start(self, script: str) -> _Running:
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        child = subprocess.Popen(
            ["bash", "-c", script], cwd=self.folder, start_new_session=True,
            env={**os.environ, **self.env, "PYTHONUNBUFFERED": "1"}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return _Running(child, output)

    def _run(self, step: Step) -> None:
        with tempfile.NamedTemporaryFile("r") as place:
            running = self._start(f"{step.command}\ncode=$?\npwd > {place.name}\nexit $code\n")
            try:
                code = running.child.wait(DEADLINE_S)
                said = running.said()
            finally:
                running.end()
            self.folder = Path(Path(place.name).read_text().strip() or self.folder)
        where = f"line {step.line}: $ {step.command}\n{said}"
        assert code == step.exit, f"exit status {code}: {where}"
        assert matches(step.shown, said), f"{where}--- is not what stands there"

    def _watch(self, step: Step) -> None:
        """A command that doesn't end by itself: leave it, or press Ctrl-C when all was seen."""
        if step.command:
            assert self.left is None, "one command at a time is left running"
            self.left = self._start(f"exec {step.command}")
        assert self.left is not None, f"line {step.line}: nothing was left running"
        where = f"line {step.line}: $ {step.command}"
        first, press, last = _parts(step.shown)
        self.left.until(first, where)
        if press:
            os.killpg(self.left.child.pid, signal.SIGINT)
            self.left.child.wait(DEADLINE_S)
            assert matches(last, self.left.said()) or not last, f"{where}\n{self.left.said()}"
            self.left.end()
            self.left = None


def _parts(shown: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """What comes before and after a `^C`, and whether there is one."""
    if "^C" not in shown:
        return [*shown], False, []
    at = shown.index("^C")
    return [*shown[:at]], True, [*shown[at + 1 :]]
