"""`otterctl run`: one experiment from nothing to a run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from net.errors import OtterError
from net.units import format_duration
from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, EXIT_INTERRUPTED, Session
from otter_ctl.cli import destroy as ending
from otter_ctl.cli.agents import everybody
from otter_ctl.cli.apply import report, show_notes
from otter_ctl.cli.common import (
    json_option,
    pass_session,
    print_json,
    run,
    set_option,
    time_option,
)
from otter_ctl.cli.interrupts import as_ctrl_c
from otter_ctl.cli.making import How, made
from otter_ctl.cli.progress import Progress
from otter_ctl.cli.saying import say
from otter_ctl.cli.status import show_failures
from otter_ctl.orders import Goal, select, wait_for
from otter_ctl.runs import RunFolder
from otter_ctl.topology import load

Why = Literal["done", "time", "failed", "interrupted"]
OVER = frozenset({"done", "stopped"})
"""What a module comes to by itself, or by the timeline, and which is no failure."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run has ended.

    Attributes:
        why: All that is waited for is done, the time was up, a module failed, or Ctrl-C.
        lasted_s: Since all modules were ready.
        folder: Its run folder; None: it never came to one.
        status: Of the mesh, as it was last; None: it never came to one.
    """

    why: Why
    lasted_s: float = 0.0
    folder: Path | None = None
    status: api.MeshStatus | None = None

    @property
    def code(self) -> int:
        """Of `otterctl`."""
        return {"failed": EXIT_FAILED, "interrupted": EXIT_INTERRUPTED}.get(self.why, 0)

    def text(self) -> str:
        """For people."""
        words = {
            "done": "all is done", "time": "its time was up",
            "failed": "a module failed", "interrupted": "interrupted",
        }  # fmt: skip
        where = f"; run folder {self.folder}" if self.folder else ""
        return f"{words[self.why]} after {format_duration(round(self.lasted_s, 1))}{where}"

    def document(self) -> dict[str, object]:
        """For `--json`."""
        modules = self.status.modules if self.status else ()
        return {
            "ended": self.why,
            "lasted_s": round(self.lasted_s, 3),
            "folder": str(self.folder) if self.folder else None,
            "valid": self.status.fidelity.valid if self.status else None,
            "modules": [{"module": m.name, "state": m.state, "reason": m.reason} for m in modules],
        }


@click.command(
    epilog="""\b
Examples:
  otterctl run topology.toml
  otterctl run topology.toml --for 60s
  otterctl run topology.toml --until client --repeat 5
  for delay in 1ms 10ms 50ms; do
    otterctl run topology.toml --for 30s --set links.radio.delay=$delay --json
  done | jq -r '.runs[].folder'
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@set_option
@click.option(
    "--until", multiple=True, metavar="MODULE",
    help="End when this one is done, whatever the others do; a name or a glob. Repeatable.",
)  # fmt: skip
@time_option("--for", "for_s", help="End so long after all modules were ready, e.g. 60s.")
@click.option(
    "--repeat", type=click.IntRange(1), default=1, metavar="N",
    help="So many runs one after the other; the first that fails is the last.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Leave the mesh as it is then, and fetch nothing.")
@json_option
@pass_session
def command(
    session: Session,
    file: Path,
    overrides: tuple[str, ...],
    until: tuple[str, ...],
    for_s: float | None,
    repeat: int,
    keep: bool,
    as_json: bool,
) -> int:
    """Run one experiment: apply, wait for its end, fetch, destroy.

    It ends when all modules are done, when the time of --for is up, or with the first module that
    fails. Exits with 0 unless one failed. Ctrl-C ends it early; what it has made is fetched and
    removed all the same. The mesh must not be there before.
    """
    if keep and repeat > 1:
        raise click.UsageError("--keep leaves the mesh, --repeat makes it anew: pick one")
    topology = load(file, overrides)
    select([m.name for m in topology.modules], until, all_=False, mesh=topology.name)
    ended: list[Ended] = []
    while len(ended) < repeat and not (ended and ended[-1].code):
        with as_ctrl_c():
            one = _Run(session, file, overrides, until, for_s, keep=keep, quiet=as_json)
            ended.append(one.whole())
        if not as_json:
            number = f" run {len(ended)} of {repeat}:" if repeat > 1 else ""
            say(f"mesh {topology.name}:{number} {ended[-1].text()}", err=bool(ended[-1].code))
    if as_json:
        print_json({"mesh": topology.name, "runs": [one.document() for one in ended]})
    return ended[-1].code


class _Run:
    """One of them."""

    def __init__(
        self,
        session: Session,
        file: Path,
        overrides: tuple[str, ...],
        until: Sequence[str],
        for_s: float | None,
        *,
        keep: bool,
        quiet: bool,
    ) -> None:
        self._session = session
        self._file = file
        self._overrides = overrides
        self._until = until
        self._for_s = for_s
        self._keep = keep
        self._quiet = quiet
        self._status: api.MeshStatus | None = None
        """Once there is something."""
        self._ready: float | None = None

    def whole(self) -> Ended:
        """From nothing to nothing, but for a run folder.

        Raises:
            OtterError: It can't be, or not be removed.
        """
        why: Why = "interrupted"
        try:
            why = self._lived()
        except KeyboardInterrupt:
            if self._status is None:
                raise
            rest = "the mesh stays" if self._keep else "fetching what there is, and removing it"
            say(f"interrupted: {rest}", err=True)
        except OtterError:
            if self._status is not None and not self._keep:
                self._removed_all_the_same()
            raise
        assert self._status is not None
        lasted_s = 0.0 if self._ready is None else time.monotonic() - self._ready
        folder = RunFolder.of(self._session.runs, self._status.spec).path
        if not self._keep:
            self._removed()
        return Ended(why, lasted_s, folder, self._status)

    def _lived(self) -> Why:
        """Made, and waited for."""
        how = How(fresh=True, quiet=self._quiet, on_accepted=self._begun)
        prepared, self._status = made(self._session, self._file, self._overrides, how)
        self._ready = time.monotonic()
        if not self._quiet:
            show_notes(self._status)
        if self._status.state != "ready":
            report(self._session, prepared, self._status, as_json=False, waited=True)
            return "failed"
        return run(self._over(self._status))

    def _begun(self, status: api.MeshStatus) -> None:
        self._status = status

    async def _over(self, begun: api.MeshStatus) -> Why:
        known = [m.name for m in begun.modules]
        chosen = select(known, self._until, all_=not self._until, mesh=begun.mesh)
        goal = Goal(known, OVER, late=True, at_once=True, until=chosen)
        why: Why = "done"
        async with everybody(self._session) as fleet:
            try:
                with Progress(chosen, quiet=self._quiet) as progress:
                    found = await wait_for(fleet, begun.mesh, goal, progress, self._for_s)
                if any(map(goal.missed, found)):
                    why = "failed"
            except TimeoutError:
                why = "time"
            self._status = await fleet.mesh(begun.mesh)
        if why == "failed":
            for module in self._status.modules:
                if goal.missed(module):
                    say(f"{module.name}: {module.state}: {module.reason}", fg="red", err=True)
            show_failures(self._status, err=True)
        return why

    def _removed_all_the_same(self) -> None:
        """There is another error to tell of."""
        try:
            self._removed()
        except OtterError as error:
            say(f"otterctl: {error}", fg="red", err=True)

    def _removed(self) -> None:
        assert self._status is not None
        name = self._status.mesh
        how = ending.How(yes=True, quiet=self._quiet)

        async def work() -> None:
            async with everybody(self._session) as fleet:
                await ending.remove(self._session, fleet, name, how)

        run(work())
