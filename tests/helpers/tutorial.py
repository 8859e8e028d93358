"""Reads a page with commands and files, and runs it as a reader would.

    ```console            `$ command` lines, each with the output that it shall have; `exit=N`: how
                          the last of them ends; a last line `^C`: press that when all was seen
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

from helpers.otter import wait_for

FENCE = re.compile(r"^```(?P<info>[^\n`]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
DEADLINE_S = 120.0


@dataclass
class Step:
    """A file to write or a command to run, with the page's line for messages."""

    line: int
    command: str = ""
    shown: list[str] = field(default_factory=list)
    exit: int = 0
    file: str = ""
    content: str = ""


def steps(page: str) -> Iterator[Step]:
    """What the reader does, in order."""
    for fence in FENCE.finditer(page):
        line = page.count("\n", 0, fence.start()) + 2
        words = fence["info"].split()
        options = dict(word.split("=", 1) for word in words[1:])
        if "file" in options:
            yield Step(line, file=options["file"], content=fence["body"])
        elif words[0] == "console":
            yield from _commands(fence["body"], line, int(options.get("exit", "0")))


def _commands(body: str, line: int, last_exit: int) -> Iterator[Step]:
    found: list[Step] = []
    for number, text in enumerate(body.splitlines()):
        if text.startswith("$ "):
            found.append(Step(line + number, command=text[2:]))
        else:
            assert found, f"line {line + number}: output before any command"
            found[-1].shown.append(text)
    found[-1].exit = last_exit
    yield from found


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
class Reader:
    """Runs steps in a folder, keeping its place as a shell would."""

    folder: Path
    env: Mapping[str, str]

    def do(self, step: Step) -> None:
        """Write the file, or run the command and compare."""
        if step.file:
            path = self.folder / step.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.content)
            return
        interrupt = step.shown[-1:] == ["^C"]
        shown = step.shown[:-1] if interrupt else step.shown
        with tempfile.NamedTemporaryFile("r") as place, tempfile.TemporaryFile("w+") as output:
            script = f"{step.command}\ncode=$?\npwd > {place.name}\nexit $code\n"
            child = subprocess.Popen(
                ["bash", "-c", f"exec {step.command}" if interrupt else script], cwd=self.folder,
                env={**os.environ, **self.env, "PYTHONUNBUFFERED": "1"}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                if interrupt:
                    self._interrupt(step, child, output.fileno(), shown)
                code = child.wait(DEADLINE_S)
            finally:
                if child.poll() is None:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
            said = _content(output.fileno())
            where = f"line {step.line}: $ {step.command}\n{said}"
            if not interrupt:
                assert code == step.exit, f"exit status {code}: {where}"
                assert matches(shown, said), f"{where}--- is not what stands there"
                self.folder = Path(Path(place.name).read_text().strip() or self.folder)

    def _interrupt(
        self, step: Step, child: subprocess.Popen[bytes], output: int, shown: list[str]
    ) -> None:
        """Press Ctrl-C once all that stands there was seen."""

        def seen() -> bool:
            said = _content(output)
            assert child.poll() is None, f"line {step.line}: it ended: $ {step.command}\n{said}"
            return matches(shown, said, whole=False)

        wait_for(seen, f"line {step.line}: $ {step.command}", DEADLINE_S)
        os.killpg(child.pid, signal.SIGINT)


def _content(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 24, 0).decode(errors="replace")
