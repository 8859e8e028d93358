"""Shows on stderr how an apply or destroy goes on: lines; on a terminal a moving last one too."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from otter_agent import api
from otter_ctl.cli.saying import say
from otter_ctl.cli.tables import STATE_STYLES
from otter_ctl.printable import printable_lines

_FINAL = frozenset({"ready", "done", "removed", "failed"})


class Progress:
    """Takes events; use as a context manager.

    Args:
        modules: Names of the modules that are to become ready (or to go).
        quiet: Show nothing (`--json`).
    """

    def __init__(self, modules: Iterable[str], *, quiet: bool = False) -> None:
        self._waiting = set(modules)
        self._total = len(self._waiting)
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._latest = ""
        self._told: set[str] = set()

    def __enter__(self) -> Progress:
        self._draw()
        return self

    def __exit__(self, *exc: object) -> None:
        self._wipe()

    def __call__(self, event: api.Event) -> None:
        """Take one event."""
        if self._quiet:
            return
        if event.state in _FINAL:
            self._waiting.discard(event.subject)
        if event.kind == "image" and not (event.data.get("under_way") and not self._live):
            self._latest = f"{event.subject}: {event.text}"
            if not self._live:
                say(f"{event.subject}: image: {event.text}", err=True)
        elif self._worth_a_line(event):
            self._line(event)
        self._draw()

    def _worth_a_line(self, event: api.Event) -> bool:
        if event.kind == "module":
            return event.state not in ("pending", "starting")
        if event.kind == "mesh":  # what is in the way, as an engine that is down: once
            told = event.state or event.text in self._told
            self._told.add(event.text)
            return not told
        return event.kind in ("network", "agent") and bool(event.state)

    def _line(self, event: api.Event) -> None:
        self._wipe()
        style = STATE_STYLES.get(event.state, "").split()
        colour = style[-1] if style and style[-1] != "dim" else None
        subject, state, said = map(printable_lines, (event.subject, event.state, event.text))
        state = click.style(state, fg=colour)
        text = f" ({said})" if said and event.state else said
        click.echo(f"{subject}: {state}{text}", err=True)

    def _draw(self) -> None:
        if not self._live:
            return
        done = self._total - len(self._waiting)
        filled = 20 * done // max(1, self._total)
        text = f"[{'#' * filled}{'.' * (20 - filled)}] {done}/{self._total} {self._latest}"
        width = max(20, _columns() - 1)
        sys.stderr.write("\r\x1b[K" + "".join(c for c in text[:width] if c.isprintable()))
        sys.stderr.flush()

    def _wipe(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
