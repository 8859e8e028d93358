"""`otterctl dev`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import click

from net.errors import OtterError
from otter_agent import api
from otter_ctl.cli import EXIT_FAILED, Session
from otter_ctl.cli.agents import connect
from otter_ctl.cli.common import (
    complete_module,
    force_option,
    mesh_option,
    pass_session,
    pick_mesh,
    run,
)
from otter_ctl.cli.interrupts import ENDS, heard, soon
from otter_ctl.cli.logs import printable
from otter_ctl.cli.saying import say
from otter_ctl.dev import ARRIVED, UNDER_WAY, Development, newest
from otter_ctl.errors import AgentFault, AgentUnreachable, PlanError
from otter_ctl.meshes import Meshes
from otter_ctl.orders import Goal, wait_for
from otter_ctl.runs import RunFolder

BACK_WITHIN_S = 60.0


@click.command(
    epilog="""\b
Examples:
  otterctl dev asr
  otterctl dev asr --path ../my-fork/speech_to_text
  otterctl dev web --path site --target /usr/share/nginx/html     (of an image)
"""
)
@click.argument("module", shell_complete=complete_module)
@mesh_option
@click.option(
    "--path", type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Its folder; without this, the `build` of the topology that was applied.",
)  # fmt: skip
@click.option(
    "--target", metavar="DIR",
    help="Where in the module the folder is shown; without this, where its image has it.",
)  # fmt: skip
@force_option
@pass_session
def command(
    session: Session,
    module: str,
    mesh: str | None,
    path: Path | None,
    target: str | None,
    force: bool,
) -> int:
    """Work on a module of a running mesh: each save of a file restarts it, and nothing else.

    Its log is shown meanwhile. A module that fails waits for the next save. Where a change takes a
    build (requirements, Dockerfile, prepare.py), it is built as an apply would. Ctrl-C ends this,
    and puts the module back to what was applied.
    """

    async def work() -> int:
        async with connect(session, force=force) as client:
            name = await pick_mesh(client, mesh)
            folder = path or await _folder_of(session, client, name, module)
            development = Development(client, name, module, folder.resolve(), target)
            return await _Dev(client, name, module, development, folder.resolve()).work()

    return run(work())


async def _folder_of(session: Session, client: Meshes, mesh: str, module: str) -> Path:
    """The module's build folder by the topology that was applied last, from here."""
    from otter_ctl.topology import load

    hint = f"say which folder: otterctl dev {module} --path DIR"
    where = f"module {module}"
    facts = RunFolder.of(session.runs, (await client.mesh(mesh)).spec).facts()
    applies = facts.get("applies") or [{}]
    file = applies[-1].get("topology")
    if not isinstance(file, str) or not Path(file).is_file():
        raise PlanError(where, f"the topology of mesh {mesh} isn't at hand here", hint=hint)
    topology = load(Path(file), tuple(map(str, applies[-1].get("set", ()))))
    for found in topology.modules:
        if found.name == module and found.build is not None:
            return found.build
    raise PlanError(where, f"{file} names no build folder for it", hint=hint)


class _Dev:
    """The verb's life: what is watched, told and put back."""

    def __init__(
        self, client: Meshes, mesh: str, module: str, development: Development, folder: Path
    ) -> None:
        self._client, self._mesh, self._module = client, mesh, module
        self._development = development
        self._folder = folder
        self._saved: float | None = None
        self._under_way = False
        self._gone = False

    async def work(self) -> int:
        """Until Ctrl-C; returns the exit status."""
        stop = asyncio.Event()
        stale = await self._development.begin()
        with _signals(stop):
            try:
                await self._until(stop, stale=stale)
                return EXIT_FAILED if self._gone else await self._end()
            except* AgentUnreachable as gone:
                _tell(str(_first(gone)), "red")
                _tell(f"{self._module} stays as it was saved last: `otterctl apply` puts it back")
        return EXIT_FAILED

    async def _until(self, stop: asyncio.Event, *, stale: bool) -> None:
        tail, since = await self._end_of_log()
        async with asyncio.TaskGroup() as group:
            listening = asyncio.Event()
            others = [
                group.create_task(self._tell_states(listening, stop), name="states"),
                group.create_task(self._show_log(tail, since), name="log"),
            ]
            await listening.wait()
            if stale:
                _tell(f"{self._folder} has changed since it was applied: it is built")
                await self._take([], build=True)
            async for paths in self._development.saves(stop):
                await self._take(paths)
                if not paths:  # not sooner: this look takes what is saved before it, unnamed
                    what = f"{self._module} of mesh {self._mesh}"
                    _tell(f"watching {self._folder} for {what}; Ctrl-C ends")
            for task in others:
                task.cancel()

    # --- saves -------------------------------------------------------------------------------

    async def _take(self, paths: list[Path], *, build: bool = False) -> None:
        """Bring a save in; what is wrong with it waits for the next one."""
        began = newest(paths) or time.time()
        self._saved = min(began, time.time())
        try:
            done = await self._development.take(build=build)
        except AgentUnreachable:
            raise
        except AgentFault as fault:
            if fault.code != "changed":
                _tell(str(fault), "red")
                return
            _tell(f"{fault.problem.message}: going on from what it is now", "yellow")
            done = await self._development.take(build=await self._development.begin())
        except (OtterError, OSError) as error:
            _tell(f"{error}; waiting for the next save", "red")
            return
        if done == "built":
            names = ", ".join(_short(path, self._folder) for path in paths[:3])
            if names:
                _tell(f"{names} changed: {self._module} is built anew")

    async def _tell_states(self, listening: asyncio.Event, stop: asyncio.Event) -> None:
        async with self._client.events(mesh=self._mesh, follow=True) as events:
            listening.set()
            async for event in events:
                removed = event.subject == self._module and event.state == "removed"
                if removed or event.state == "destroyed":
                    _tell(f"{event.kind} {event.subject} was {event.state} by somebody else", "red")
                    self._gone = True
                    stop.set()
                elif event.subject == self._module:
                    self._tell_state(event)

    def _tell_state(self, event: api.Event) -> None:
        if event.kind == "image":
            _tell(f"build: {printable(event.text)}", dim=True)
            return
        if event.state in UNDER_WAY:
            self._under_way = True
        elif event.state == "failed":  # also when it had been ready: some take long to stumble
            _tell(f"{self._module}: {event.text}; waiting for the next save", "red")
            self._under_way = False
        elif event.state in ARRIVED and self._under_way:
            after = f" {time.time() - self._saved:.2f} s after the save" if self._saved else ""
            if event.state == "running":
                _tell(f"{self._module} restarted{after}")
                return
            _tell(f"{self._module} is {event.state}{after}", "green")
            self._under_way = False

    async def _end_of_log(self) -> tuple[int | None, float | None]:
        """What to ask for to have all that comes from now on, however late the answer begins.

        It may begin after the first save's restart: "nothing of what is there" would be too late.
        """
        one = self._client.logs(self._mesh, (self._module,), tail=1, follow=False)
        lines = [line async for line in one]
        if not lines:
            return None, None
        last = lines[-1].time  # by its machine's clock
        return (0, None) if last is None else (None, math.nextafter(last, math.inf))

    async def _show_log(self, tail: int | None, since: float | None) -> None:
        lines = self._client.logs(self._mesh, (self._module,), tail=tail, follow=True, since=since)
        async for line in lines:
            click.echo(printable(line.text))

    # --- the end -----------------------------------------------------------------------------

    async def _end(self) -> int:
        """Put the module back, and say what differs."""
        try:
            if await self._development.put_back():
                _tell(f"putting {self._module} back to what was applied")
                goal = Goal([self._module], frozenset({"ready", "done", "running"}))
                await wait_for(self._client, self._mesh, goal, lambda event: None, BACK_WITHIN_S)
        except AgentFault as fault:
            if fault.code == "changed":
                _tell(f"{fault.problem.message}; it stays so", "yellow")
                return 0
            raise
        except TimeoutError:
            _tell(f"{self._module} isn't ready yet; see `otterctl status`", "yellow")
        if await self._development.differs():
            _tell(
                f"{self._folder} is not what {self._module} runs now: `otterctl apply` brings it in"
            )
        return 0


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM, SIGHUP) ends the work, a second one everything.

    Whether `stop` is set says nothing of that: a mesh that somebody else destroyed sets it too.
    Afterwards Ctrl-C does nothing any more: the verb is about to end, and has its exit status.
    """
    task = asyncio.current_task()
    assert task is not None
    times = 0

    def asked() -> None:
        nonlocal times
        times += 1
        if times > 1:
            task.cancel()
        stop.set()

    with heard(dict.fromkeys(ENDS, asked)):
        # Not as these are: a loop that hears Ctrl-C no more first has it interrupt again.
        signal.signal(signal.SIGINT, soon(asyncio.get_running_loop(), asked))
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, lambda number, frame: None)


def _first(group: BaseException) -> BaseException:
    """What went wrong, without its groups."""
    return _first(group.exceptions[0]) if isinstance(group, BaseExceptionGroup) else group


def _short(path: Path, folder: Path) -> str:
    try:
        return str(path.relative_to(folder))
    except ValueError:
        return path.name


def _tell(text: str, colour: str | None = None, *, dim: bool = False) -> None:
    say(f"dev: {text}", fg=colour, dim=dim or None, err=True)
