"""What a message takes from host to host: paths of links, each as it is asked to be. Pure.

Paths are the plan's: those that the routes follow. `latency.py` has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from net.links.spec import LinkSpec
from net.routing.paths import one_target
from net.routing.routes import Graph, graph
from otter_agent.api import Link
from otter_ctl.planning.latency import Took, took


@dataclass(frozen=True, slots=True)
class Step:
    """One direction of a link on a path.

    Attributes:
        real_s: What the network between the machines of its ends takes beside that.
        tunnel_s: What getting into and out of the tunnel between them takes.
        carries_bps: What whoever makes it scarce can carry at most.
        beyond_bps: What the network and the driver of the other machine carry, if it leads to one.
    """

    link: str
    source: str
    target: str
    spec: LinkSpec
    real_s: float = 0.0
    tunnel_s: float = 0.0
    carries_bps: float = math.inf
    beyond_bps: tuple[float, ...] = ()

    @property
    def rates_bps(self) -> tuple[float, ...]:
        """Of all that it passes, one after the other."""
        return (min(self.spec.rate_bps or math.inf, self.carries_bps), *self.beyond_bps)

    @property
    def rate_bps(self) -> float:
        """At which it sends; infinite: at once."""
        return min(self.rates_bps)


@dataclass(frozen=True, slots=True)
class Beneath:
    """What links rest on.

    Attributes:
        real_s: (host, host) -> what the network between their machines takes, one way.
        tunnel_s: The same, of the tunnel through it.
        real_bps: (host, host) -> what the network between their machines carries; infinite: all.
        carries_bps: Host -> what its machine's link driver carries at most.
        congestion: Host -> TCP's congestion control there; empty: not known.
    """

    real_s: Callable[[str, str], float] = lambda source, target: 0.0
    tunnel_s: Callable[[str, str], float] = lambda source, target: 0.0
    real_bps: Callable[[str, str], float] = lambda source, target: math.inf
    carries_bps: Callable[[str], float] = lambda host: math.inf
    congestion: Callable[[str], str] = lambda host: ""


NOTHING = Beneath()
"""All hosts are on one machine, and its links carry whatever is asked."""


class Crossing:
    """Paths between hosts, and times over them.

    Args:
        names: Of all hosts.
        links: Those that carry something at first.
        beneath: What they rest on.
    """

    def __init__(
        self,
        names: Iterable[str],
        links: Sequence[Link],
        beneath: Beneath = NOTHING,
    ) -> None:
        self._beneath = beneath
        names = list(names)
        self._graph: Graph = graph(names, links)
        self._number = {name: number for number, name in enumerate(names)}
        self._links = {link.name: link for link in links}
        self._towards: dict[str, dict[int, int]] = {}
        self._paths: dict[tuple[str, str], tuple[Step, ...] | None] = {}

    def path(self, source: str, target: str) -> tuple[Step, ...] | None:
        """The links from one host to another; none if it is the same; None: there is no way."""
        key = (source, target)
        if key not in self._paths:
            self._paths[key] = self._walk(source, target)
        return self._paths[key]

    def _walk(self, source: str, target: str) -> tuple[Step, ...] | None:
        ranks = self._towards.get(target)
        if ranks is None:
            ranks = dict(one_target(self._graph.steps, self._number[target]))
            self._towards[target] = ranks
        steps: list[Step] = []
        at = source
        while at != target:
            rank = ranks.get(self._number[at])
            if rank is None:
                return None
            hop = self._graph.hops[rank]
            link = self._links[hop.link]
            spec = link.forward if link.a == at and link.b == hop.host else link.reverse
            steps.append(self._step(link, at, hop.host, spec or LinkSpec()))
            at = hop.host
        return tuple(steps)

    def _step(self, link: Link, source: str, target: str, spec: LinkSpec) -> Step:
        real_s = self._beneath.real_s(source, target)
        if link.subtract:  # the network's delay is taken off the link's own, as far as that goes
            real_s = max(0.0, real_s - (spec.delay_s or 0.0))
        carries, beyond = math.inf, [self._beneath.real_bps(source, target)]
        if spec.asked():
            carries = self._beneath.carries_bps(source)
            beyond.append(self._beneath.carries_bps(target))
        tunnel_s = self._beneath.tunnel_s(source, target)
        away = tuple(beyond) if tunnel_s else ()
        return Step(link.name, source, target, spec, real_s, tunnel_s, carries, away)

    def message_s(self, source: str, target: str, size: float, *, tcp: bool = True) -> float:
        """Median latency of a message after a long pause, in seconds; infinite: there is no way."""
        return self.took(source, target, size, tcp=tcp).seconds

    def took(
        self,
        source: str,
        target: str,
        size: float,
        *,
        tcp: bool = True,
        udp: bool = False,
        every_s: float | None = None,
    ) -> Took:
        """Median latency of a message; infinite: there is no way.

        Args:
            source: Host that sends.
            target: Host that receives.
            size: Bytes of the message.
            tcp: Over a connection, which needs a way back and waits for it.
            udp: In datagrams.
            every_s: How often one is sent; None: after a long pause.
        """
        out, back = self.path(source, target), self.path(target, source)
        if out is None or (back is None and tcp):
            return Took()
        rtt_s = _delay_s(out) + (_delay_s(back) if back else 0.0)
        rates = [rate for step in out for rate in step.rates_bps]
        specs = [step.spec for step in out]
        found = took(
            specs,
            size,
            rtt_s=rtt_s if tcp else 0.0,
            every_s=every_s,
            rates_bps=rates,
            congestion=self._beneath.congestion(source),
            udp=udp,
        )
        if found.parts is None:
            return found
        between = replace(
            found.parts,
            network_s=sum(step.real_s for step in out),
            tunnel_s=sum(step.tunnel_s for step in out),
        )
        return replace(found, parts=between)


def _delay_s(path: Sequence[Step]) -> float:
    return sum((step.spec.delay_s or 0.0) + step.real_s + step.tunnel_s for step in path)
