"""How much one core carries in user space before a run is no longer what was asked for.

    python -m benchmarks capacity

Packets of 1400 bytes over 1, 10 and 100 links at once, each with a delay, a rate and loss; more and
more of them, until the agent would mark the run invalid (otter_agent.fidelity.judge). The figures
are what `otterctl plan` warns by: otter_ctl/planning/capacity.toml.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.row import NotHere, Row
from net.links.spec import LinkSpec
from otter_agent.fidelity.judge import Sample, doubts
from otter_agent.links.base import LinkDriver
from otter_agent.links.tun.driver import TunDriver
from tests.helpers.link_bench import Bench, Link

LINKS = (1, 10, 100)
_SPEC = LinkSpec(delay_s=0.02, rate_bps=10e9, loss_ratio=0.001)
_BYTES = 1400
_LEAST, _MOST, _STEP = 4000.0, 200_000.0, 1.05
_RUN_S = 2.0
_TRIES = 2
_UDP_SEGMENT = 103


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """Who carries links.

    Attributes:
        name: Before the rows' names.
        train: Packets that are sent by one call, for the kernel to cut apart.
        run_s: How long each try lasts.
        used_s: Processor time that counts, up to now.
        whose: For whom that was, and what else there is to say of the figures.
    """

    name: str
    driver: LinkDriver
    train: int
    run_s: float
    used_s: Callable[[], float]
    whose: str


def rows() -> list[Row]:
    """Packets a second, by number of links."""
    if os.geteuid() != 0:
        raise NotHere("links need root")
    with tempfile.TemporaryDirectory() as folder:
        driver = TunDriver(Path(folder) / "links")
        facts = driver.probe()
        if not facts.usable:
            raise NotHere(facts.detail)
        tun = Carrier(
            name="tun", driver=driver, train=8, run_s=_RUN_S,
            used_s=lambda: _cpu_s(driver.pid), whose="of a core",
        )  # fmt: skip
        try:
            return measured(tun)
        finally:
            driver.end()


def measured(carrier: Carrier) -> list[Row]:
    """A row for each number of links."""
    found: list[Row] = []
    links: list[Link] = []
    with Bench(carrier.driver) as bench:
        for count in LINKS:
            while len(links) < count:
                links.append(bench.make_link())
                bench.apply(links[-1].there, _SPEC)
                links[-1].at_b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # unread
            most, share = _most(carrier, links)
            name = f"packets/s of {_BYTES} bytes until the run is invalid, {count} links"
            note = f"{most * _BYTES * 8 / 1e9:.2g} Gbit/s, {share:.0%} {carrier.whose}"
            found.append(
                Row(
                    name=f"{carrier.name}: {name}", unit="1/s", better="higher", ours=most,
                    peers={}, limit=None, goal=None, n=_TRIES, note=note,
                )
            )  # fmt: skip
    return found


def _most(carrier: Carrier, links: Sequence[Link]) -> tuple[float, float]:
    """The most that is carried as asked, by halving; and what of a core that takes."""
    low, high, share = _LEAST, _MOST, 0.0
    while high / low > _STEP:
        middle = (low * high) ** 0.5
        tries = (_carried(carrier, links, middle) for _ in range(_TRIES))
        good = next((used for used in tries if used is not None), None)
        if good is None:
            high = middle
        else:
            low, share = middle, good
    return (low, share) if share else (0.0, 0.0)


def _carried(carrier: Carrier, links: Sequence[Link], per_s: float) -> float | None:
    """Share of a core that so many packets a second take; None: they aren't carried as asked."""
    senders = [_sender(link, carrier.train) for link in links]
    before, used_s = _sample(carrier.driver, links), carrier.used_s()
    begun, train, sent = time.monotonic(), bytes((_BYTES - 28) * carrier.train), 0
    while (passed_s := time.monotonic() - begun) < carrier.run_s:
        if sent >= per_s * passed_s:
            time.sleep(0.0002)
            continue
        sender, address = senders[sent // carrier.train % len(senders)]
        sender.sendto(train, (address, 4000))
        sent += carrier.train
    used_s = carrier.used_s() - used_s
    after = _sample(carrier.driver, links)
    time.sleep(0.1)
    if sent < 0.97 * per_s * carrier.run_s:
        return None  # the sender is what is too slow
    return None if doubts(before, after) else used_s / passed_s


def _sender(link: Link, train: int) -> tuple[socket.socket, str]:
    sender, _, address = link.ends(link.there)
    sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, _BYTES - 28 if train > 1 else 0)
    sender.setblocking(True)
    return sender, address


def _sample(driver: LinkDriver, links: Sequence[Link]) -> Sample:
    health = driver.health([link.there for link in links])
    return Sample(at_s=time.monotonic(), wall_s=time.time(), health=health)


def _cpu_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
