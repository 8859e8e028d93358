"""The agent's side of `verify`: says what to measure, runs the prober, hands on what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

import otter_agent
from net.errors import OtterError
from net.links.spec import LinkSpec
from net.links.verify.tolerances import TOLERANCES
from otter_agent import api
from otter_agent.api import Budget
from otter_agent.errors import AgentError
from otter_agent.links.ways import Way, direction, less, seats
from otter_agent.machine import Machine
from otter_agent.network.state import BEYOND
from otter_agent.verify.jobs import DirectionJob, HostJob, Job, chosen
from otter_agent.verify.telling import asked_of, told, with_underlay, without

Look = Callable[[], Awaitable[api.MeshStatus]]

_GROUP = "otter.verify"
"""Below a host's; no module is called so."""
_LONGEST_LINE = 1 << 24
_ENDED = "the prober ended in the middle"


async def certify(
    machine: Machine, look: Look, request: api.VerifyRequest
) -> AsyncGenerator[list[api.VerifyLine], None]:
    """Measure a mesh; lines as they come. Closing it ends the measuring, with all it made.

    Args:
        machine: Where it is.
        look: The mesh's status at this moment, with what links counted.
        request: What to measure.

    Raises:
        AgentError: Something is named that isn't there.
    """
    status = await look()
    spec = status.spec
    directions = _directions(machine, status, request)
    hosts = [h for h in spec.hosts if h.cpu or h.speed or _any_module(spec, h.name)]
    granted = {h.name: machine.worth(h.asked.speed).cores(h.asked.cpu, h.asked.speed)
               for h in status.hosts}  # fmt: skip
    measured = [h.name for h in hosts] if request.cpu and not request.links else []
    off = less(spec)
    now = await asyncio.to_thread(_underlay_now, machine, spec, off)
    async with _groups(machine, spec.name, measured):
        job = Job(
            effort=request.effort,
            directions=tuple(directions),
            hosts=tuple(
                _host(machine, spec.name, h.name, granted[h.name])
                for h in hosts
                if h.name in measured
            ),
            tolerances=request.tolerances,
            seed=spec.seed,
        )
        async with contextlib.aclosing(_probed(machine, spec, job)) as lines:
            async for line in lines:
                if line.rows:
                    line = with_underlay(told(line, status, await look()), off, now)
                yield [line]


def _underlay_now(
    machine: Machine, spec: api.MeshSpec, off: Mapping[Way, float]
) -> dict[Way, float]:
    """What the network to other machines takes one way, where that is part of a delay; blocking."""
    found: dict[tuple[str, str], float | None] = {}
    result: dict[Way, float] = {}
    tunnels = {link.name: link.tunnel for link in spec.links if link.tunnel is not None}
    for way in off:
        ends = tunnels[way.link].local, tunnels[way.link].remote
        if ends not in found:
            found[ends] = machine.reach(*ends, spec.mtu).rtt_s
        rtt_s = found[ends]
        if rtt_s is not None:
            result[way] = rtt_s / 2
    return result


def checked(request: api.VerifyRequest) -> api.VerifyRequest:
    """The request, if it makes sense.

    Raises:
        AgentError: `bad-request`.
    """
    for name, tolerance in request.tolerances.items():
        if name not in TOLERANCES:
            why = f"no tolerance {name!r}; there are: {', '.join(TOLERANCES)}"
            raise AgentError("bad-request", why)
        if not (0 <= tolerance.absolute < 1e12 and 0 <= tolerance.relative < 1e3):
            raise AgentError("bad-request", f"tolerance of {name}: must not be negative")
    return request


def _directions(
    machine: Machine, status: api.MeshStatus, request: api.VerifyRequest
) -> list[DirectionJob]:
    """The directions that are asked for, with what is asked of them now."""
    spec = status.spec
    if not request.links_too:
        return []
    off = less(spec)
    asked = {way: without(one, off.get(Way(*way), 0.0)) for way, one in asked_of(status).items()}
    away = seats(spec)
    addresses = {host.name: host.address for host in spec.hosts}
    return [
        _job(machine, status, way, asked.get(way, {}), addresses, away)
        for way in chosen(spec, request.links)
    ]


def _job(
    machine: Machine,
    status: api.MeshStatus,
    way: Way,
    asked: Mapping[str, Any],
    addresses: Mapping[str, str],
    away: Mapping[tuple[str, str], str],
) -> DirectionJob:
    """Of a link to another machine: as far as where its packets leave this one."""
    at = direction(machine.agent_id, status.spec, way, away)
    return DirectionJob(
        link=way.link,
        from_=way.source,
        to=way.target,
        source_netns=at.source_netns,
        target_netns=at.target_netns,
        source_address=addresses.get(way.source, BEYOND),
        target_address=addresses.get(way.target, BEYOND),
        device=at.device,
        asked=msgspec.convert(asked, LinkSpec),
    )


# --- computing ---------------------------------------------------------------------------------


def _any_module(spec: api.MeshSpec, host: str) -> bool:
    return any(module.host == host and module.runtime != "fake" for module in spec.modules)


def _host(machine: Machine, mesh: str, host: str, cores: float | None) -> HostJob:
    cgroups = machine.cgroups
    assert cgroups is not None
    usage = cgroups.usage_file(f"{mesh}/{host}")
    return HostJob(
        name=host,
        cores=cores,
        procs_files=tuple(map(str, cgroups.procs_files(f"{mesh}/{host}/{_GROUP}"))),
        usage_file=str(usage or ""),
    )


@contextlib.asynccontextmanager
async def _groups(machine: Machine, mesh: str, hosts: list[str]) -> AsyncIterator[None]:
    """A group below each host's, for as long as the block."""
    cgroups = machine.cgroups
    if cgroups is None:
        hosts.clear()
    groups = [f"{mesh}/{host}/{_GROUP}" for host in hosts]

    def make() -> None:
        assert cgroups is not None
        for group in groups:
            cgroups.ensure(group, Budget())

    def remove() -> None:
        assert cgroups is not None
        for group in groups:
            cgroups.kill(group)
            cgroups.remove(group)

    try:
        if groups:
            await asyncio.to_thread(make)
        yield
    finally:
        if groups:
            with contextlib.suppress(OtterError):
                await asyncio.shield(asyncio.to_thread(remove))


# --- the prober --------------------------------------------------------------------------------


async def _probed(
    machine: Machine, spec: api.MeshSpec, job: Job
) -> AsyncGenerator[api.VerifyLine, None]:
    gone = asyncio.Event()
    away = seats(spec)
    hosts = {away.get((d.link, host), host) for d in job.directions for host in (d.from_, d.to)}
    with _told_of_removal(machine, spec.name, hosts, gone):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", __package__, spec.name, str(machine.layout.run),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd="/",
            limit=_LONGEST_LINE, env=_environment(),
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(api.encode(job) + b"\n")
            await process.stdin.drain()
            last, total = api.VerifyLine(), len(job.directions) + len(job.hosts)
            while line := await _next(process.stdout, gone):
                last = api.decode(line, api.VerifyLine)
                yield last
            if last.done < total and last.problem is None:
                raise _ended(spec.name, gone)
        except ConnectionError as error:
            raise _ended(spec.name, gone) from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _ended(mesh: str, gone: asyncio.Event) -> AgentError:
    why, hint = _ENDED, "see the agent's log"
    if gone.is_set():
        why, hint = "a host was removed meanwhile", "verify again what is left, if anything is"
    return AgentError("failed", f"verify of mesh {mesh}: {why}", hint=hint)


async def _next(lines: asyncio.StreamReader, gone: asyncio.Event) -> bytes:
    """The next line; empty at the end, or when a host goes."""
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(lines.readline(), name="verify: read")
        going = group.create_task(gone.wait(), name="verify: a host goes")
        await asyncio.wait((reading, going), return_when=asyncio.FIRST_COMPLETED)
        line = reading.result() if reading.done() else b""
        reading.cancel()
        going.cancel()
    return line


@contextmanager
def _told_of_removal(
    machine: Machine, mesh: str, hosts: set[str], gone: asyncio.Event
) -> Iterator[None]:
    """Set `gone` if one of the hosts is to go: the prober's sockets would hold its namespace."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        for host in hosts:
            stack.enter_context(
                machine.network.on_removal(mesh, host, lambda: loop.call_soon_threadsafe(gone.set))
            )
        yield


def _environment() -> dict[str, str]:
    package = str(Path(otter_agent.__file__).parent.parent)
    single = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": package, **single}
