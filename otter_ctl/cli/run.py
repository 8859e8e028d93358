"""`otterctl run`: one experiment from nothing to a run folder."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from net.errors import OtterError
from net.units import format_duration
from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, EXIT_INTERRUPTED, Session
from otter_ctl.cli import destroy as destroying
from otter_ctl.cli.apply import show_bad, show_notes
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
from otter_ctl.cli.preparing import reaching
from otter_ctl.cli.progress import Progress
from otter_ctl.cli.saying import say
from otter_ctl.errors import AgentFault, RemoteError
from otter_ctl.experiments import ENDED_WELL, acts_until_s
from otter_ctl.orders import Goal, select, wait_for
from otter_ctl.runs import RunFolder
from otter_ctl.spread import Fleet
from otter_ctl.topology import load
from otter_ctl.topology.model import Topology

Why = Literal["done", "time", "failed", "interrupted"]
LOOK_S = 0.5
"""How often is looked whether the timeline has done all that it does to modules."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run has ended.

    Attributes:
        why: All that is waited for is done, the time was up, a module failed or wasn't ready in
            its time, or Ctrl-C.
        lasted_s: Since all modules were ready.
        folder: Its run folder.
        status: Of the mesh, as it was last.
        kept: It is still there.
    """

    why: Why
    lasted_s: float
    folder: Path
    status: api.MeshStatus
    kept: bool

    @property
    def code(self) -> int:
        """Of `otterctl`."""
        return {"failed": EXIT_FAILED, "interrupted": EXIT_INTERRUPTED}.get(self.why, 0)

    def text(self) -> str:
        """For people."""
        words = {
            "done": "all is done", "time": "its time was up",
            "failed": self._failure(), "interrupted": "interrupted",
        }  # fmt: skip
        lasted_s = round(self.lasted_s, 1)
        text = words[self.why]
        if lasted_s or self.why != "failed":  # what fails at once has not run for a time
            text += f" after {format_duration(lasted_s)}"
        if self.kept:
            return f"{text}; it stays, until otterctl destroy -m {self.status.mesh}"
        return f"{text}; run folder {self.folder}"

    def _failure(self) -> str:
        failed = [m.name for m in self.status.modules if m.state == "failed"]
        if not failed:
            return "not all modules were ready in their time"
        return f"{', '.join(failed)} failed"

    def document(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "ended": self.why,
            "lasted_s": round(self.lasted_s, 3),
            "folder": str(self.folder),
            "kept": self.kept,
            "valid": self.status.fidelity.valid,
            "modules": [
                {"module": m.name, "state": m.state, "reason": m.reason}
                for m in self.status.modules
            ],
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
    help="End when this one is done, though others still run; a name or a glob. Repeatable.",
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

    It ends when all modules are done (a server never is: say --until or --for), when the time of
    --for is up, or with the first module that fails. Exits with 0 unless one failed. Ctrl-C ends it
    early; what it has made is fetched and removed all the same. The mesh must not be there before.
    """
    if keep and repeat > 1:
        raise click.UsageError("--keep leaves the mesh, --repeat makes it anew: pick one")
    topology = load(file, overrides)
    if not topology.modules and for_s is None:
        raise click.UsageError(f"{file} has no modules whose end could be its end: say --for")
    select([m.name for m in topology.modules], until, all_=False, mesh=topology.name)
    ended: list[Ended] = []
    try:
        while len(ended) < repeat and not (ended and ended[-1].code):
            with as_ctrl_c():
                one = _Run(session, file, overrides, topology, until, for_s, keep, as_json)
                ended.append(one.whole())
            if not as_json:
                number = f" run {len(ended)} of {repeat}:" if repeat > 1 else ""
                text = f"mesh {topology.name}:{number} {ended[-1].text()}"
                say(text, err=bool(ended[-1].code))
    finally:
        if as_json and ended:  # also those before one that couldn't be
            print_json({"mesh": topology.name, "runs": [one.document() for one in ended]})
    return ended[-1].code


class _Run:
    """One of them."""

    def __init__(
        self,
        session: Session,
        file: Path,
        overrides: tuple[str, ...],
        topology: Topology,
        until: Sequence[str],
        for_s: float | None,
        keep: bool,
        quiet: bool,
    ) -> None:
        self._session = session
        self._file = file
        self._overrides = overrides
        self._topology = topology
        self._mesh = topology.name
        self._until = until
        self._for_s = for_s
        self._keep = keep
        self._quiet = quiet
        self._id = ""
        """Of the run, once agents may have something of it."""
        self._ready: float | None = None
        self._found: api.MeshStatus | None = None
        """As it was last."""

    def whole(self) -> Ended:
        """From nothing to nothing, but for a run folder.

        Raises:
            OtterError: It can't be, or not be removed.
            KeyboardInterrupt: Before there was anything, or once more while it was removed.
        """
        why: Why = "interrupted"
        try:
            why = self._lived()
        except KeyboardInterrupt:
            if not self._id:
                raise
            rest = "the mesh stays" if self._keep else "fetching what there is, and removing it"
            say(f"interrupted: {rest}", err=True)
        except Exception as error:
            if self._id and not self._keep and not _is_refusal(error):
                self._cleared()
            raise
        lasted_s = 0.0 if self._ready is None else time.monotonic() - self._ready
        if self._left(interrupted=why == "interrupted"):
            why = "interrupted"
        status = self._found
        if status is None:
            if why == "interrupted":  # before agents had it
                raise KeyboardInterrupt
            raise RemoteError("local", f"mesh {self._mesh} was ended by somebody else")
        folder = RunFolder.of(self._session.runs, status.spec).path
        return Ended(why, lasted_s, folder, status, self._keep)

    # --- its life ----------------------------------------------------------------------------

    def _lived(self) -> Why:
        how = How(fresh=True, quiet=self._quiet, on_begun=self._begins, on_ready=self._begun)
        _, status = made(self._session, self._file, self._overrides, how)
        if not self._quiet:
            show_notes(status)
        if status.state != "ready":
            show_bad(status)
            return "failed"
        return run(self._over(status))

    def _begins(self, spec: api.MeshSpec) -> None:
        self._id = spec.run

    def _begun(self, status: api.MeshStatus) -> None:
        self._ready = time.monotonic()

    async def _over(self, begun: api.MeshStatus) -> Why:
        """Wait for its end."""
        known = [m.name for m in begun.modules]
        chosen = select(known, self._until, all_=not self._until, mesh=self._mesh)
        goal = Goal(known, ENDED_WELL, late=True, at_once=True, until=chosen)
        acts_until = acts_until_s(begun.spec.timeline, chosen)
        self._say_what_for(acts_until)
        assert self._ready is not None
        at = None if self._for_s is None else self._ready + self._for_s  # of the loop's clock
        async with reaching(self._session, self._topology) as fleet:
            if (await fleet.mesh(self._mesh)).spec.run != self._id:
                raise RemoteError("local", f"mesh {self._mesh} was ended by somebody else")
            with suppress(TimeoutError), Progress(chosen, quiet=self._quiet) as progress:
                async with asyncio.timeout_at(at):
                    while known:
                        played = await self._played(fleet) if acts_until else math.inf
                        found = await wait_for(fleet, self._mesh, goal, progress, None)
                        if any(map(goal.missed, found)):
                            show_bad(await fleet.mesh(self._mesh))
                            return "failed"
                        if played >= acts_until + LOOK_S:
                            return "done"
                        await asyncio.sleep(LOOK_S)
                    await asyncio.get_running_loop().create_future()  # until its time is up
            return "time"

    async def _played(self, fleet: Fleet) -> float:
        """How far the timeline is, seconds."""
        return (await fleet.timeline(self._mesh, last=0, following=0)).position_s

    def _say_what_for(self, acts_until: float) -> None:
        if self._quiet:
            return
        ends = []
        if self._topology.modules and not math.isinf(acts_until):
            ends.append(f"{', '.join(self._until) or 'all modules'} done")
        if self._for_s is not None:
            ends.append(f"{format_duration(self._for_s)} over")
        what = " or ".join(ends) or "Ctrl-C, as the timeline goes on starting or stopping modules"
        say(f"mesh {self._mesh}: ready; until {what}", err=True)

    # --- its end -----------------------------------------------------------------------------

    def _left(self, *, interrupted: bool) -> bool:
        """Fetch and remove, unless it is to be kept; whether Ctrl-C came by then.

        The first Ctrl-C of all is no reason to leave anything; another one is.
        """
        try:
            run(self._last())
        except KeyboardInterrupt:
            if interrupted or self._keep:
                text = f"mesh {self._mesh} may still be there: otterctl destroy -m {self._mesh}"
                say(text, fg="yellow", err=True)
                raise
            say("interrupted: it is removed all the same; once more, and it may stay", err=True)
            return self._left(interrupted=True)
        return interrupted

    async def _last(self) -> None:
        """If it is still ours: somebody may have made another one of its name."""
        async with reaching(self._session, self._topology) as fleet:
            status = await fleet.find_mesh(self._mesh)
            if status is None or status.spec.run != self._id:
                return
            self._found = status
            if not self._keep:
                how = destroying.How(quiet=self._quiet)
                await destroying.remove(self._session, fleet, self._mesh, how)

    def _cleared(self) -> None:
        """There is another error to tell of."""
        from otter_ctl.__main__ import explain

        try:
            self._left(interrupted=False)
        except (OtterError, OSError, BaseExceptionGroup) as error:
            explain(error)
            say(f"mesh {self._mesh} may still be there: otterctl destroy", err=True)


def _is_refusal(error: Exception) -> bool:
    """Whether somebody else was first, of which then all is theirs."""
    return isinstance(error, AgentFault) and error.code in ("changed", "locked")
