"""A runtime in memory, with knobs for what can go wrong: `runtime = "fake"` in a topology.

Nothing runs and no network is made, so a mesh can be planned, applied and destroyed on a laptop
without root, and policy can be tested against faults that real engines show once a year. It
passes the same contract suite as the others. A fake module's command says what it does:

    command = ["print", "hello", "after", "0.5", "exit", "3"]    # words it doesn't know: it runs on
    command = ["stubborn"]                                       # ignores SIGTERM
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from otter_agent.api import Budget, LogLine
from otter_agent.errors import ContainerError
from otter_agent.runtimes.base import ExecOutput, Instance, Key, LogPlace, Phase, Workload
from otter_agent.runtimes.setting import PLAIN, Setting

FIRST_PID = 1 << 23
"""Above any pid that Linux gives (PID_MAX_LIMIT is 2^22), so that none is taken for a process."""
_QUEUE_LIMIT = 1000
_TERM, _KILL = 143, 137


@dataclass(slots=True)
class Faults:
    """What goes wrong. Change it at any time.

    Attributes:
        delay_s: Each operation takes this long.
        fail: Operation -> which call of it fails, counted from 1; `{"start": {2}}`: the second.
        recoverable: Whether those failures say that trying again may help.
        die_after_s: Released instances end by themselves after this; None: they don't.
        exit_code: With this.
    """

    delay_s: float = 0.0
    fail: dict[str, set[int]] = field(default_factory=dict)
    recoverable: bool = True
    die_after_s: float | None = None
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class Program:
    """What a fake command does: see the head of this file."""

    prints: tuple[str, ...] = ()
    exit_code: int | None = None
    after_s: float = 0.0
    stubborn: bool = False

    @classmethod
    def parse(cls, argv: Sequence[str]) -> Program:
        """Read a command; a word that means nothing is passed over."""
        program, words = cls(), iter(argv)
        for word in words:
            match word:
                case "print":
                    program = replace(program, prints=(*program.prints, next(words, "")))
                case "exit":
                    program = replace(program, exit_code=int(next(words, "0")))
                case "after":
                    program = replace(program, after_s=float(next(words, "0")))
                case "stubborn":
                    program = replace(program, stubborn=True)
        return program


@dataclass(slots=True)
class _Entry:
    work: Workload
    instance: Instance
    budget: Budget
    log: list[str] = field(default_factory=list)
    life: int = 0
    signals: list[int] = field(default_factory=list)


class FakeWorld:
    """The engine: what outlives a `FakeRuntime`, as dockerd outlives an agent."""

    def __init__(self) -> None:
        self.entries: dict[Key, _Entry] = {}
        self.watchers: list[asyncio.Queue[Instance | None]] = []
        self.pids = itertools.count(FIRST_PID)

    def tell(self, instance: Instance | None) -> None:
        """Tell watchers of an exit, or of the engine's end; full queues lose the oldest."""
        for queue in self.watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(instance)


class FakeRuntime:
    """Implements `Runtime`, `Logs` and `Exec` in memory.

    Args:
        faults: What goes wrong.
        world: The engine of an earlier one; None: a new, empty engine.
    """

    name = "fake"

    def __init__(self, faults: Faults | None = None, world: FakeWorld | None = None) -> None:
        self.faults = faults or Faults()
        self.world = world or FakeWorld()
        self.calls: Counter[str] = Counter()

    # --- Runtime ---------------------------------------------------------------------------

    async def create(self, work: Workload) -> Instance:
        """See base."""
        await self._fate("create", work.key)
        there = self.world.entries.get(work.key)
        if there is not None:
            if there.instance.spec_digest == work.spec_digest:
                return there.instance
            self._end(there, _KILL)
        made = Instance(work.key, work.spec_digest, Phase.CREATED, id=f"fake-{work.key}")
        self.world.entries[work.key] = _Entry(work, made, work.budget)
        return made

    async def start(self, key: Key) -> Instance:
        """See base."""
        await self._fate("start", key)
        entry = self._entry("start", key)
        if entry.instance.phase in (Phase.CREATED, Phase.EXITED):
            entry.life += 1
            entry.instance = replace(
                entry.instance, phase=Phase.HELD, pid=next(self.world.pids), exit_code=None,
                life=str(entry.life),
            )  # fmt: skip
        return entry.instance

    async def release(self, key: Key) -> Instance:
        """See base."""
        await self._fate("release", key)
        entry = self._entry("release", key)
        if entry.instance.phase is Phase.HELD:
            entry.instance = replace(entry.instance, phase=Phase.RUNNING)
            self._run(entry)
        elif entry.instance.phase is not Phase.RUNNING:
            why = f"it is {entry.instance.phase}, not held"
            raise ContainerError("fake", "release", str(key), why, recoverable=True)
        return entry.instance

    async def update(self, key: Key, budget: Budget) -> None:
        """See base."""
        await self._fate("update", key)
        self._entry("update", key).budget = budget

    async def signal(self, key: Key, number: int) -> None:
        """See `Signals`."""
        await self._fate("signal", key)
        entry = self._entry("signal", key)
        entry.signals.append(number)
        if number == signal.SIGKILL:
            self._end(entry, _KILL)

    async def stop(self, key: Key, grace_s: float) -> Instance:
        """See base."""
        await self._fate("stop", key)
        entry = self.world.entries.get(key)
        if entry is None:
            return Instance(key, "", Phase.EXITED)
        stubborn = _program(entry.work).stubborn
        if entry.instance.phase is Phase.RUNNING and stubborn:
            await asyncio.sleep(grace_s)
        self._end(entry, _KILL if stubborn or entry.instance.phase is Phase.HELD else _TERM)
        return replace(entry.instance, phase=Phase.EXITED)

    async def remove(self, key: Key) -> None:
        """See base."""
        await self._fate("remove", key)
        entry = self.world.entries.get(key)
        if entry is not None:
            self._end(entry, _KILL)
            self.world.entries.pop(key, None)

    async def list(self) -> list[Instance]:
        """See base."""
        await self._fate("list", None)
        return [entry.instance for _, entry in sorted(self.world.entries.items())]

    async def watch(self) -> AsyncIterator[Instance]:
        """See base."""
        queue: asyncio.Queue[Instance | None] = asyncio.Queue(_QUEUE_LIMIT)
        self.world.watchers.append(queue)
        try:
            while (instance := await queue.get()) is not None:
                yield instance
        finally:
            self.world.watchers.remove(queue)
        raise ContainerError("fake", "watch", "engine", "it went away", recoverable=True)

    # --- Logs and Exec ---------------------------------------------------------------------

    async def logs(
        self,
        key: Key,
        *,
        tail: int | None,
        follow: bool,
        since: float | None = None,
        until: float | None = None,
        place: LogPlace | None = None,
    ) -> AsyncIterator[LogLine]:
        """See base. Lines have no times, so `since` and `until` leave none out."""
        entry = self.world.entries.get(key)
        if entry is None:
            return
        at = 0 if tail is None else max(0, len(entry.log) - tail)
        while True:
            while at < len(entry.log):
                yield LogLine(module=key.module, text=entry.log[at])
                at += 1
            if not follow or self.world.entries.get(key) is not entry:
                return
            if place is not None:
                place.caught_up()
            await asyncio.sleep(0.01)

    async def exec(
        self,
        key: Key,
        argv: Sequence[str],
        *,
        stdin: AsyncIterator[bytes] | None,
        output: ExecOutput,
        setting: Setting = PLAIN,
    ) -> int:
        """See base. `cat` gives its input back; other commands as a fake module's."""
        await self._fate("exec", key)
        entry = self._entry("exec", key)
        if entry.instance.phase not in (Phase.HELD, Phase.RUNNING):
            raise ContainerError("fake", "exec", str(key), "it is not running", recoverable=True)
        if argv[0] == "cat" and stdin is not None:
            async for data in stdin:
                await output(1, data)
        program = Program.parse(argv)
        for text in program.prints:
            await output(1, f"{text}\n".encode())
        await asyncio.sleep(program.after_s)
        known = program.prints or program.exit_code is not None or argv[0] == "cat"
        return program.exit_code or 0 if known else 127

    # --- knobs -----------------------------------------------------------------------------

    def budget(self, key: Key) -> Budget:
        """What limits an instance has now."""
        return self._entry("read", key).budget

    def die(self, key: Key, exit_code: int, *, oom: bool = False) -> None:
        """End an instance now, as if by itself."""
        self._end(self._entry("die", key), exit_code, oom=oom)

    def lose(self) -> None:
        """The engine goes away: watchers learn of it; instances stay."""
        self.world.tell(None)

    async def _fate(self, op: str, key: Key | None) -> None:
        self.calls[op] += 1
        number = self.calls[op]
        if self.faults.delay_s:
            await asyncio.sleep(self.faults.delay_s)
        if number in self.faults.fail.get(op, ()):
            raise ContainerError(
                "fake", op, str(key or "engine"), f"call {number} of {op} was told to fail",
                recoverable=self.faults.recoverable,
            )  # fmt: skip

    def _entry(self, op: str, key: Key) -> _Entry:
        entry = self.world.entries.get(key)
        if entry is None:
            raise ContainerError("fake", op, str(key), "it was never created")
        return entry

    def _run(self, entry: _Entry) -> None:
        """Play the program: print now, and be over later."""
        program = _program(entry.work)
        entry.log += program.prints
        code, after_s = program.exit_code, program.after_s
        if code is None and self.faults.die_after_s is not None:
            code, after_s = self.faults.exit_code, self.faults.die_after_s
        if code is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(after_s, self._expire, entry, entry.life, code)

    def _expire(self, entry: _Entry, life: int, exit_code: int) -> None:
        if entry.life == life:
            self._end(entry, exit_code)

    def _end(self, entry: _Entry, exit_code: int, *, oom: bool = False) -> None:
        if entry.instance.phase in (Phase.HELD, Phase.RUNNING):
            entry.instance = replace(
                entry.instance, phase=Phase.EXITED, pid=None, exit_code=exit_code, oom_killed=oom
            )
            self.world.tell(entry.instance)


def _program(work: Workload) -> Program:
    return Program.parse(work.argv if work.argv is not None else work.artifact.argv or ())
