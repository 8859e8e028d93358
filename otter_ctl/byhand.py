"""Changes by hand on several machines: none of them changes anything unless all can.

    which machines? ──► all are asked whether they can ──► all do it
      one is lost: no     one "no": nothing was changed      one fails: it is said who has it

Must not know: the command line, how machines are reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TypeVar

from net.errors import OtterError
from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.concerns import concerns, fits
from otter_ctl.errors import RemoteError
from otter_ctl.fleet import Found
from otter_ctl.many import each, together

C = TypeVar("C")
S = TypeVar("S")
Agents = Mapping[str, AgentClient]
Lost = Mapping[str, OtterError]


async def links(
    agents: Agents, found: Found, mesh: str, changes: Sequence[api.LinkChange], *, check: bool
) -> list[api.LinkStatus]:
    """Change links, each direction where it is made scarce.

    Args:
        agents: Those of the mesh's machines that answer.
        found: What they have of it, and why the others give no answer.
        mesh: Its name.
        changes: What is asked.
        check: Only say whether that could be.

    Raises:
        OtterError: Says that nothing was changed, or where it was.
    """
    there = (await each(agents, lambda name, agent: agent.links(mesh))).all()
    mine = {
        name: [c for c in changes if any(concerns(c, x.name, x.from_, x.to) for x in known)]
        for name, known in there.items()
    }
    if found.lost:
        ends = {(x.name, x.from_, x.to) for known in there.values() for x in known}
        gone = {host for other in _silent(found) for host in other.hosts}
        for part in found.parts.values():
            _all_there(changes, part.spec, ends, gone, found.lost)

    async def shape(
        agent: AgentClient, some: Sequence[api.LinkChange], *, check: bool
    ) -> list[api.LinkStatus]:
        return await agent.shape(mesh, some, check=check)

    return await _in_two(agents, changes, mine, shape, check=check)


def _silent(found: Found) -> list[api.Away]:
    """What is on machines that give no answer, as any of the others tells."""
    return [other for name, other in found.aways.items() if name in found.lost]


def _all_there(
    changes: Sequence[api.LinkChange],
    part: api.MeshSpec,
    ends: Collection[tuple[str, str, str]],
    gone: Collection[str],
    lost: Lost,
) -> None:
    """Whether all that a part knows to be asked for can be reached; `gone`: hosts that can't."""
    for link in (*part.links, *part.beyond):
        if link.a not in gone and link.b not in gone:
            continue
        for source, target in ((link.a, link.b), (link.b, link.a)):
            if (link.name, source, target) in ends:
                continue
            if any(concerns(change, link.name, source, target) for change in changes):
                raise _nothing(lost)


async def budgets(
    agents: Agents, found: Found, mesh: str, changes: Sequence[api.BudgetChange], *, check: bool
) -> list[api.BudgetStatus]:
    """Change hosts and modules, where they are; arguments and errors as of `links`."""
    there = (await each(agents, lambda name, agent: agent.budgets(mesh))).all()
    mine = {
        name: [c for c in changes if any(fits(c, one.kind, one.name) for one in known)]
        for name, known in there.items()
    }
    for other in _silent(found):
        names = {("host", name) for name in other.hosts}
        names |= {("module", name) for name in other.modules}
        for kind, name in names:
            if any(fits(change, kind, name) for change in changes):
                raise _nothing(found.lost)

    async def shape(
        agent: AgentClient, some: Sequence[api.BudgetChange], *, check: bool
    ) -> list[api.BudgetStatus]:
        return await agent.shape_budgets(mesh, some, check=check)

    return await _in_two(agents, changes, mine, shape, check=check)


async def _in_two(
    agents: Agents,
    changes: Sequence[C],
    mine: Mapping[str, list[C]],
    shape: Callable[..., Awaitable[list[S]]],
    *,
    check: bool,
) -> list[S]:
    asked = {name: agent for name, agent in sorted(agents.items()) if mine[name]}
    if not asked:  # it says what isn't there
        return await shape(next(iter(agents.values())), changes, check=check)
    if len(asked) > 1:
        can = await each(asked, lambda name, agent: shape(agent, mine[name], check=True))
        if can.failed:
            raise _nothing(can.failed)
        if check:
            return [one for name in asked for one in can.good[name]]
    done = await each(asked, lambda name, agent: shape(agent, mine[name], check=check))
    if done.failed and done.good:
        text = f"{together(done.failed).message}; changed on {', '.join(sorted(done.good))} alone"
        raise _error(done.failed, text, hint="`otterctl shape show` says what holds where")
    return [one for name in asked for one in done.all()[name]]


def _nothing(failed: Lost) -> OtterError:
    error = together(failed)
    return _error(failed, f"{error.message}; nothing was changed on any machine", error.hint)


def _error(failed: Lost, text: str, hint: str) -> OtterError:
    first = sorted(failed)[0]
    return RemoteError(first, text.removeprefix(f"{first}: "), hint=hint)
