"""What the verbs that move files share: progress in bytes, warnings, results before a destroy."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path

from otter_agent import api
from otter_ctl.cli.saying import say
from otter_ctl.errors import FetchError
from otter_ctl.fetching import about, fetch
from otter_ctl.meshes import Meshes
from otter_ctl.printable import printable_lines
from otter_ctl.runs import RunFolder

_DRAW_EVERY_S = 0.1
_LINE_EVERY_S = 10.0
"""Where stderr is no terminal: a line now and then."""


class ByteProgress:
    """Shows on stderr how much has come or gone; what is quick shows nothing.

    Use as a context manager; call it with what is under way, its bytes so far and, where that is
    known, how many there will be.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._live = sys.stderr.isatty()
        self._quiet = quiet
        self._every = _DRAW_EVERY_S if self._live else _LINE_EVERY_S
        self._began = self._last = time.monotonic()
        self._kept: int | None = None
        """Of one with a total: what had come before it began."""

    def __enter__(self) -> ByteProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live and not self._quiet:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def __call__(self, what: str, done: int, total: int = 0) -> None:
        """Take one more number; `total` is 0 where nobody knows it."""
        now = time.monotonic()
        if self._kept is None:
            self._kept = done if total else 0
        if self._quiet or now - self._last < self._every:
            return
        self._last = now
        rate = (done - self._kept) / max(now - self._began, 1e-3)
        of = f" of {about(total)}" if total else ""
        text = printable_lines(f"{what}: {about(done)}{of}, {about(max(0, round(rate)))}/s")
        sys.stderr.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        sys.stderr.flush()


def shown(path: Path) -> str:
    """A path on one line, whatever a module put into its name."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))


def show_warnings(warnings: Iterable[str]) -> None:
    """Print them on stderr, a line each."""
    for text in warnings:
        say(f"warning: {text}", fg="yellow", err=True)


async def bring_all(
    client: Meshes, status: api.MeshStatus, folder: RunFolder, *, discard: bool, quiet: bool
) -> None:
    """Fetch everything before a mesh is destroyed.

    Args:
        client: The agent.
        status: The mesh.
        folder: Where to.
        discard: Go on though something could not be fetched: it will be lost.
        quiet: Show no progress.

    Raises:
        FetchError: Something could not be fetched; nothing may be removed.
    """
    try:
        with ByteProgress(quiet=quiet) as progress:
            show_warnings((await fetch(client, status, folder, on_bytes=progress)).warnings)
    except FetchError as error:
        if not discard:
            text = f"{error.args[0]}; mesh {status.mesh} was not destroyed"
            hint = f"{error.hint}; or lose it: otterctl destroy -m {status.mesh} --discard"
            raise FetchError(
                client.machine, text.removeprefix(f"{client.machine}: "), hint=hint.lstrip("; "),
                missing_bytes=error.missing_bytes,
            ) from error  # fmt: skip
        show_warnings([f"not everything was fetched: {error}"])
