"""What is asked of the hosts and modules of one mesh, by whom, and bringing it into force.

    topology ─► timeline ─► shape (by hand) ─► asked ─► host: its group │ module: its runtime

Changed on the event loop; groups are written in threads. Each layer changes only what it names.
What the kernel refuses (a memory limit below what is in use) by hand is as if it had never been
asked; of the timeline the former limit holds, and it is tried again and again. Must not know: who
plays a timeline, HTTP, how a runtime limits.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from typing import Any, Protocol

import msgspec

from net.errors import OtterError
from net.links.changes import Change
from net.links.words import host_text
from otter_agent import api
from otter_agent.budgets import subjects
from otter_agent.budgets.giving import Giving, all_follows, as_they_are, no_rates, no_space
from otter_agent.budgets.subjects import FIELDS, Subject, fields_of
from otter_agent.cgroups import Cgroups
from otter_agent.errors import AgentError
from otter_agent.links import clock
from otter_agent.links.leases import Moment, Shape
from otter_agent.links.shapes import Asked, Shapes
from otter_agent.links.telling import LAYERS, Layer, Tell

NO_GROUPS = "this machine has no cgroups to limit it by"
AGAIN_S = 1.0
"""Between two tries at what the kernel has refused."""
KILLS_S = 2.0
"""Between two looks at who was killed for memory, where there is a limit."""
_LOOK_AGAIN_S = 60.0
"""The loop's clock stands still in suspend."""
_NOTHING = Change()
_NO_BUDGET = api.Budget()
_OF_MODULES_TOO = ("speed", *subjects.DISKS, *subjects.RATES, "gpu_share")
"""Of a host's budget, what its modules' own limits follow from."""


class Keep(Protocol):
    """Where changes by hand are kept across the agent's lives."""

    def budgets(self, mesh: str) -> dict[tuple[str, str], bytes]:
        """All of a mesh."""
        ...

    def put_budgets(self, mesh: str, budgets: Mapping[tuple[str, str], bytes | None]) -> None:
        """Keep, or forget with None. Raises `AgentError` on a full disk."""
        ...


class BudgetBook:
    """Of one mesh.

    Args:
        cgroups: None: there are none on this machine, and hosts can't be limited.
        spec: What the topology asks.
        keep: Where changes by hand are kept.
        tell: Records events.
        now: The clocks.
        worth: Tells what the machine's cores are worth to who asks for a speed.
        no_disks: Why disks can't be limited; "" if they can.
        space: Module -> what its work folder may hold.
        rates: What a host or a module may receive and send, in force; raises `NetworkError`.
        lacks_rates: Why that can't be limited; "" if it can.
        stays: Module, its weight -> what of it doesn't follow until it restarts; "" if all does.

    Attributes:
        limit: Brings what is asked of a module into force if it runs; why it isn't, or "".
        turns: Tells the share of a GPU that is in force for a module.
    """

    def __init__(
        self,
        cgroups: Cgroups | None,
        spec: api.MeshSpec,
        keep: Keep,
        tell: Tell,
        now: Callable[[], Moment] = clock.now,
        *,
        worth: Callable[[float | None], api.Hardness] = as_they_are,
        no_disks: Callable[[], str] = str,
        space: Callable[[str], int | None] = no_space,
        rates: Callable[[Subject], tuple[float | None, float | None]] = no_rates,
        lacks_rates: str = "",
        stays: Callable[[str, float], str] = all_follows,
    ) -> None:
        self._mesh = spec.name
        self._cgroups = cgroups
        self._tell = tell
        self._giving = Giving(cgroups, self.of, worth, no_disks, space, rates, lacks_rates, stays)
        self._given: dict[Subject, object] = {}
        self._stale = False
        self._base: dict[Subject, api.Budget] = {}
        self._layers: dict[Layer, dict[Subject, Change]] = {"timeline": {}, "shape": {}}
        kept = {Subject(*key): data for key, data in keep.budgets(self._mesh).items()}  # type: ignore[arg-type]  # of ours
        self._shapes = Shapes(kept, partial(keep.put_budgets, self._mesh), now)
        self._refused: dict[Subject, str] = {}
        self._left: set[Subject] = set()
        self._writing = threading.Lock()
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self.limit: Callable[[str], Awaitable[str]] = _none_runs
        self.turns: Callable[[str], float | None] = _no_turns
        self.take(spec)

    # --- what is asked -----------------------------------------------------------------------

    def take(self, spec: api.MeshSpec) -> None:
        """Another topology holds. What was changed by hand stays, where its subject does."""
        self._base = subjects.asked(spec)
        self._giving.take(spec)
        self._shapes.keep_only(self._base)
        of_timeline = self._layers["timeline"]
        self._layers["timeline"] = {s: c for s, c in of_timeline.items() if s in self._base}
        self._layers["shape"] = self._shapes.changes()
        self._refused = {s: why for s, why in self._refused.items() if s in self._base}
        modules = [s for s in self._base if s.kind == "module"]
        self._given = {s: self._given[s] if s in self._given else self._whole(s) for s in modules}
        self._stale = True
        self._news.set()

    def all(self) -> list[Subject]:
        """Hosts, then modules, in the topology's order."""
        return list(self._base)

    def of(self, subject: Subject) -> api.Budget:
        """What is asked now, all layers together."""
        base = self._base.get(subject, _NO_BUDGET)
        if not any(self._layers.values()):  # asked of all subjects with each decision
            return base
        return _over(base, self._change(subject))

    @property
    def machine(self) -> api.Hardness:
        """What the machine's cores are worth, as far as is known."""
        return self._giving.worth(None)

    def granted(self, subject: Subject) -> api.Budget:
        """What is asked now, as the kernel is to have it: in cores of this machine."""
        return self._giving.granted(subject)

    def _whole(self, subject: Subject) -> tuple[object, ...]:
        """All that a module is to have by itself and by its host; () if it is its own alone."""
        host = self.of(self._giving.host_of(subject))
        if not any(getattr(host, name) for name in _OF_MODULES_TOO):
            return ()
        return self.granted(subject), host.in_bps, host.out_bps

    def hosts(self) -> dict[str, api.Budget]:
        """What is asked of each host now."""
        return {s.name: self.of(s) for s in self._base if s.kind == "host"}

    def shares(self) -> dict[str, float | None]:
        """Share of a GPU that is asked of each module now; none where only the topology asks."""
        if not any(self._layers.values()):
            return {}
        return {s.name: self._giving.share(s) for s in self._base if s.kind == "module"}

    def is_changed(self, subject: Subject) -> bool:
        """Whether anything but the topology asks something of it."""
        return bool(self._change(subject))

    def _change(self, subject: Subject) -> Change:
        whole = _NOTHING
        for layer in LAYERS:
            if (change := self._layers[layer].get(subject)) is not None:
                whole = whole.then(change)
        return whole

    # --- changing ----------------------------------------------------------------------------

    async def change(self, changes: Mapping[Subject, Change]) -> dict[Subject, str]:
        """What the timeline asks now, in place of what it asked; returns once that is in force.

        Args:
            changes: Subject -> all that differs from the topology; unknown ones are passed over.

        Returns:
            Why it isn't in force, of those of which it isn't.
        """
        known = {s: c for s, c in changes.items() if s in self._base}
        self._layers["timeline"] |= known
        return await self._bring_into_force(known)

    async def shape(
        self,
        all_asked: Sequence[Asked[Subject]],
        by: str = "",
        admit: Callable[[Mapping[str, api.Budget]], None] = lambda hosts: None,
    ) -> dict[Subject, str]:
        """Change by hand; kept until reset, or until its time is over.

        Args:
            all_asked: What.
            by: Name of who asks.
            admit: Gets the budgets that hosts would have, and raises if they can't have them.

        Returns:
            The subjects that were named, each with why it was refused: that one is as before.

        Raises:
            AgentError: The disk is full, `admit` refuses, or one is gone: nothing was changed.
        """
        async with self._turn:  # what is refused is taken back before anybody builds on it
            return await self._shape(all_asked, by, admit)

    async def _shape(
        self,
        all_asked: Sequence[Asked[Subject]],
        by: str,
        admit: Callable[[Mapping[str, api.Budget]], None],
    ) -> dict[Subject, str]:
        shapes = self.shaped(all_asked, admit)
        before = {subject: self._shapes.of(subject) for subject in shapes}
        self._take_shapes(shapes)
        failed = await self._bring_into_force(shapes)
        if failed:
            self._take_shapes({s: before.get(s, self._shapes.of(s)) for s in failed})
            await self._bring_into_force(failed)
        self._news.set()
        for asked in all_asked:
            for subject in asked.of:
                self._tell_change(subject, asked, failed.get(subject, ""), by)
        return {subject: failed.get(subject, "") for subject in self._base if subject in shapes}

    def shaped(
        self, all_asked: Sequence[Asked[Subject]], admit: Callable[[Mapping[str, api.Budget]], None]
    ) -> dict[Subject, Shape]:
        """What they would be changed to by hand; changes nothing. Raises as `shape`."""
        shapes = self._shapes.asked(all_asked, self._check, str)
        admit({s.name: self._with(s, shape) for s, shape in shapes.items() if s.kind == "host"})
        return shapes

    def _check(self, subject: Subject, so_far: Change, change: Change) -> None:
        """All else was checked when it was looked up; meanwhile another topology may have come."""
        if subject not in self._base:
            raise AgentError("not-found", f"mesh {self._mesh} has no {subject} any more")

    def _with(self, subject: Subject, shape: Shape) -> api.Budget:
        change = self._layers["timeline"].get(subject, _NOTHING).then(shape.change())
        return _over(self._base[subject], change)

    def _take_shapes(self, shapes: Mapping[Subject, Shape]) -> None:
        self._shapes.put(shapes)
        self._ask_by_hand(shapes)

    def _ask_by_hand(self, subjects: Iterable[Subject]) -> None:
        for subject in subjects:
            self._layers["shape"][subject] = self._shapes.of(subject).change()

    async def run(self) -> None:
        """End changes whose time is over, try again what was refused; until cancelled."""
        while True:
            self._news.clear()
            await self._end_leases()
            await self._look_for_kills()
            if self._stale:
                await self._follow()
            left, self._left = self._left & self._base.keys(), set()
            if again := left | self._refused.keys():
                await self._bring_into_force(again)
            end = self._shapes.next_end()
            wait = _LOOK_AGAIN_S if end is None else end
            try:
                async with asyncio.timeout(min(max(wait, 0.0), self._patience())):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _patience(self) -> float:
        if self._refused:
            return AGAIN_S
        return KILLS_S if self._giving.limits_memory() else _LOOK_AGAIN_S

    async def _follow(self) -> None:
        """Modules whose hosts are asked something else by a new topology have that, too."""
        self._stale = False
        hosts = {subject for subject in self._base if subject.kind == "host"}
        for subject in list(self._followers(hosts, ())):
            await self._give(subject)  # what fails is its keeper's to try again

    async def _look_for_kills(self) -> None:
        """Tell of processes that were killed for memory, also of those whose module goes on."""
        if self._giving.limits_memory():
            for module in await asyncio.to_thread(self._giving.killed):
                text = await asyncio.to_thread(self.memory_text, module)
                self._tell("module", module, f"out of memory: a process was killed ({text})")

    async def _end_leases(self) -> None:
        async with self._turn:
            ended = self._shapes.end()
            if not ended:
                return
            self._ask_by_hand(ended)
            failed = await self._bring_into_force(ended)
            for subject, was in ended.items():
                words = f"shape: {_text(was)} is over"
                self._say(subject, words, was, failed.get(subject, ""), "ended")

    # --- in force ----------------------------------------------------------------------------

    async def _bring_into_force(self, wanted: Collection[Subject]) -> dict[Subject, str]:
        """Returns what couldn't be, and why.

        Cancellation: what is asked stays asked, and `run` brings it into force.
        """
        try:
            return await self._bring(wanted)
        except asyncio.CancelledError:
            self._left.update(wanted)
            self._news.set()
            raise

    async def _bring(self, wanted: Collection[Subject]) -> dict[Subject, str]:
        hosts = [subject for subject in wanted if subject.kind == "host"]
        if self._cgroups is not None and self._cgroups.version == "none":
            groups = {s for s in wanted if self._needs_group(s)}
            of_turns = [s for s in wanted if s not in groups and self._takes_turns(s)]
            others = [s for s in hosts if s not in groups]
            return dict.fromkeys(groups, NO_GROUPS) | await self._give_all(of_turns, others, wanted)
        failed = await asyncio.to_thread(self._write, hosts) if hosts else {}
        modules = [subject for subject in wanted if subject.kind == "module"]
        failed |= await self._give_all(modules, hosts, wanted)
        for subject in hosts:
            self._note(subject, failed.get(subject, ""))
        return failed

    async def _give_all(
        self, modules: Iterable[Subject], hosts: Collection[Subject], wanted: Collection[Subject]
    ) -> dict[Subject, str]:
        """Modules, and those that follow from hosts: what fails of these is their host's."""
        followers = {s: self._giving.host_of(s) for s in self._followers(hosts, wanted)}
        whose = {s: s for s in modules} | followers
        return {of: error for s, of in whose.items() if (error := await self._give(s))}

    def _takes_turns(self, subject: Subject) -> bool:
        return subject.kind == "module" and self.of(subject).gpu_share is not None

    async def _give(self, module: Subject) -> str:
        self._given[module] = self._whole(module)
        return await self.limit(module.name)

    def _needs_group(self, subject: Subject) -> bool:
        """Whether more than its share of a GPU was changed."""
        return bool(self._change(subject).values.keys() - {"gpu_share"})

    def _followers(
        self, hosts: Collection[Subject], wanted: Collection[Subject]
    ) -> Iterator[Subject]:
        """Modules of hosts whose own limits follow from their host's, and are others by it."""
        if not hosts:
            return
        for subject, given in list(self._given.items()):
            if self._giving.host_of(subject) not in hosts or subject in wanted:
                continue
            if self._whole(subject) != given:
                yield subject

    def _note(self, subject: Subject, error: str) -> None:
        """Modules that are refused something are their keeper's to try again."""
        if error and subject in self._base:
            self._refused[subject] = error
        else:
            self._refused.pop(subject, None)

    def _write(self, hosts: Iterable[Subject]) -> dict[Subject, str]:
        failed = {}
        for subject in hosts:
            try:
                if self._cgroups is not None:
                    self._ensure(subject, self._cgroups)
                elif self._needs_group(subject):
                    failed[subject] = NO_GROUPS
            except OtterError as error:
                failed[subject] = str(error)
        return failed

    def _ensure(self, subject: Subject, cgroups: Cgroups) -> None:
        with self._writing:  # what is read here is newer than all that was written before
            cgroups.ensure(f"{self._mesh}/{subject.name}", self.granted(subject))

    def ensure(self, host: api.HostSpec) -> None:
        """Make a host's group, with what is asked of it now; blocking.

        Raises:
            CgroupError: The kernel refused what the topology asks.
        """
        assert self._cgroups is not None
        subject = Subject("host", host.name)
        try:
            self._ensure(subject, self._cgroups)
        except OtterError as error:
            if not self.is_changed(subject):
                raise
            self._refused[subject] = str(error)  # that is no reason for the mesh not to run

    # --- telling -----------------------------------------------------------------------------

    def _tell_change(self, subject: Subject, asked: Asked[Subject], error: str, by: str) -> None:
        words = ["shape:", "reset" if asked.reset else "", _text(asked.change)]
        words += [f"for {asked.for_s:g}s" if asked.for_s is not None else ""]
        words += [f"(by {by})" if by else ""]
        state = "failed" if error else "changed"
        self._say(subject, " ".join(filter(None, words)), asked.change, error, state)

    def _say(self, subject: Subject, words: str, change: Change, error: str, state: str) -> None:
        in_force = self.in_force(subject)
        told = (name for name in FIELDS if name != "gpu_share" or in_force.gpu_share is not None)
        applied = {name: getattr(in_force, name) for name in told}
        now = _text(Change(applied))
        result = f"failed: {error}" if error else f"in force: {now}"
        data: dict[str, Any] = {
            "layer": "shape",
            "requested": dict(change.values),
            "applied": applied,
        }
        self._tell(subject.kind, subject.name, f"{words}; {result}", state, data)

    def in_force(self, subject: Subject) -> api.Budget:
        """Read back; nothing where there is no group (yet, or any more)."""
        found = self._giving.in_force(subject)
        share = self._giving.share_in_force(subject, self.turns)
        return found if share is None else msgspec.structs.replace(found, gpu_share=share)

    def note(self, subject: Subject) -> str:
        """What isn't limited as well as one may think; "" if nothing."""
        return self._giving.note(subject)

    def memory_text(self, module: str) -> str:
        """What a module and its host may use of memory, and used at most; blocking."""
        return self._giving.memory_text(module)

    def layers(self, subject: Subject) -> dict[str, dict[str, Any]]:
        """Who asks what, without those who ask nothing."""
        base = self._base[subject]
        fields = fields_of(subject.kind)
        found = {"topology": {n: v for n in fields if (v := getattr(base, n)) is not None}}
        for layer in LAYERS:
            if change := self._layers[layer].get(subject, _NOTHING):
                found[layer] = dict(change.values)
        return found

    def reverts_in_s(self, subject: Subject) -> float | None:
        """When the next change by hand ends; None: none does by itself."""
        return self._shapes.reverts_in_s(subject)

    def error(self, subject: Subject) -> str:
        """Why a host isn't as asked."""
        return self._refused.get(subject, "")

    def status(self, subject: Subject, error: str = "") -> api.BudgetStatus:
        """Of one."""
        return api.BudgetStatus(
            kind=subject.kind,
            name=subject.name,
            asked=self.of(subject),
            in_force=self.in_force(subject),
            layers=self.layers(subject),
            reverts_in_s=self.reverts_in_s(subject),
            error=error or self.error(subject),
            note=self.note(subject),
        )


async def _none_runs(module: str) -> str:
    return ""


def _no_turns(module: str) -> float | None:
    return None


def _over(base: api.Budget, change: Change) -> api.Budget:
    values = {name: value for name, value in change.values.items() if name in subjects.ALL}
    return msgspec.structs.replace(base, **values) if values else base


def _text(change: Change) -> str:
    return host_text(change.values)
