"""What is between the machines of a mesh: who reaches whom, how soon, how much gets through.

Must not know: how meshes are planned, how machines are reached by SSH.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from net.errors import OtterError
from net.links.spec import LinkSpec
from otter_agent import api
from otter_ctl import knocking
from otter_ctl.client import AgentClient
from otter_ctl.many import each
from otter_ctl.planning.tunnels import Measuring, Pair, Wires, too_much

if TYPE_CHECKING:
    from otter_ctl.spread import Fleet


async def sounded(
    fleet: Fleet,
    wires: Wires,
    ways: Sequence[tuple[str, LinkSpec, Pair]],
    measure: Measuring,
    over: Mapping[str, api.TunnelKind | None],
) -> tuple[Wires, tuple[str, ...]]:
    """The same with what was found, and what is to be said of it.

    Args:
        fleet: All machines.
        wires: What is known already; that isn't measured again unless `measure` is `all`.
        ways: Directions of links between machines: name, what is asked, from which to which.
        measure: What the network carries, of those of which that isn't known, or of all.
        over: Link -> how the topology asks for it to get to the other machine.
    """
    pairs = list(dict.fromkeys(pair for _, _, pair in ways))
    reaches = await _reaches(fleet, wires, pairs)
    deaf = frozenset(p for p, found in reaches.items() if found.tried and found.rtt_s is None)
    before = wires.underlay
    underlay = dict(before)
    for pair, delay_s in _delays(reaches).items():
        if pair not in underlay or measure == "all":
            underlay[pair] = api.Underlay(delay_s=delay_s)
    mtu = min([wires.mtu, *(found.mtu for found in reaches.values() if found.mtu)])
    if any(found.rtt_s is None for found in reaches.values()):
        mtu = min(mtu, wires.kept_mtu or mtu)  # what isn't known now was so before
    wires = replace(wires, deaf=deaf, underlay=underlay, mtu=mtu)
    doors = knocking.wanted([(name, pair) for name, _, pair in ways], over, wires)
    tried = await knocking.tried(fleet, wires, doors)
    if measure != "not":
        known = frozenset() if measure == "all" else frozenset(before)
        unknown = [pair for pair in pairs if pair not in known]
        wires = await gauged(fleet.agents.of, wires, unknown)
    said = [line for p in sorted(reaches) for line in _words(p, reaches[p], wires, tried.passing)]
    return wires, (*said, *knocking.words(tried, doors, wires), *too_much(ways, wires))


async def _reaches(fleet: Fleet, wires: Wires, pairs: Iterable[Pair]) -> dict[Pair, api.Reach]:
    of: dict[str, list[str]] = {}
    for one, other in pairs:
        of.setdefault(one, []).append(other)

    async def ask(name: str, agent: AgentClient) -> dict[Pair, api.Reach]:
        local = wires.addresses[name]
        return {
            (name, other): await agent.reach(local, wires.addresses[other], wires.mtu)
            for other in of[name]
        }

    answers = await each(await fleet.agents.of(of), ask)
    return {pair: found for part in answers.good.values() for pair, found in part.items()}


def _delays(reaches: Mapping[Pair, api.Reach]) -> dict[Pair, float]:
    """One way, the same both ways: half of the shorter of what both found."""
    found: dict[Pair, float] = {}
    for one, other in reaches:
        both = (reaches.get(pair) for pair in ((one, other), (other, one)))
        times = [reach.rtt_s for reach in both if reach is not None and reach.rtt_s is not None]
        if times:
            found[one, other] = round(min(times) / 2, 6)
    return found


def _words(pair: Pair, found: api.Reach, wires: Wires, passing: Collection[Pair]) -> list[str]:
    where = f"from machine {pair[0]} to {pair[1]} ({wires.addresses[pair[1]]})"
    if not found.tried:
        return [f"{where}: {found.error}"]
    if found.rtt_s is None:
        if pair in passing:
            return []  # pings alone aren't let through
        if (pair[1], pair[0]) not in wires.deaf:
            return []  # the other way there is an answer: the link goes over UDP, and says why
        return [f"{where}: {found.error}: links between them may carry nothing"]
    if not found.whole and not found.mtu:
        return [f"{where}: large packets don't come through whole: set its interface's MTU"]
    return []


# --- measuring ------------------------------------------------------------------------------------


async def gauged(
    agents_of: Callable[[Collection[str]], Awaitable[Mapping[str, AgentClient]]],
    wires: Wires,
    pairs: Sequence[Pair],
) -> Wires:
    """With rates. Machines measure with one other at a time, several pairs at once.

    Args:
        agents_of: Machines -> their agents, of those that can be asked.
        wires: What is known already.
        pairs: What to measure between; both ways at once.
    """
    left = list(dict.fromkeys((min(pair), max(pair)) for pair in pairs))
    underlay = dict(wires.underlay)
    while left:
        round_: dict[str, Pair] = {}
        busy: set[str] = set()
        for one, other in list(left):
            if not busy & {one, other}:
                busy |= {one, other}
                left.remove((one, other))
                # Who can't be reached doesn't answer: the other one asks.
                turned = (one, other) in wires.deaf
                round_[other if turned else one] = (other, one) if turned else (one, other)
        agents = await agents_of(busy)
        asked = {n: agents[n] for n, pair in round_.items() if {*pair} <= agents.keys()}

        async def ask(
            name: str,
            agent: AgentClient,
            round_: Mapping[str, Pair] = round_,
            agents: Mapping[str, AgentClient] = agents,
        ) -> api.Measured:
            return await _measure(agent, agents[round_[name][1]], round_[name], wires)

        for name, found in (await each(asked, ask)).good.items():
            underlay |= _underlay(round_[name], found, underlay)
    return replace(wires, underlay=underlay)


async def _measure(
    asking: AgentClient, answering: AgentClient, pair: Pair, wires: Wires
) -> api.Measured:
    local, remote = (wires.addresses[name] for name in pair)
    key = secrets.token_hex(16)
    try:
        there = await answering.underlay(api.Probing(local=remote, key=key, mtu=wires.mtu))
        asked = api.Probing(local=local, key=key, mtu=wires.mtu, remote=remote, port=there.port)
        return await asking.underlay(asked)
    except OtterError as error:
        return api.Measured(error=str(error))


def _underlay(
    pair: Pair, found: api.Measured, before: Mapping[Pair, api.Underlay]
) -> dict[Pair, api.Underlay]:
    """What was found both ways; where pings say that it is quicker, it is."""
    if found.rtt_s is None:
        return {}
    one, other = pair
    known = before.get(pair)
    delay_s = round(found.rtt_s / 2, 6)
    if known is not None:
        delay_s = min(delay_s, known.delay_s)
    return {
        (one, other): api.Underlay(delay_s=delay_s, rate_bps=_rounded(found.forth_bps)),
        (other, one): api.Underlay(delay_s=delay_s, rate_bps=_rounded(found.back_bps)),
    }


def _rounded(rate_bps: float | None) -> float | None:
    """To two digits: more nobody knows."""
    return None if rate_bps is None else float(f"{rate_bps:.2g}")
