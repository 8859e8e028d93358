"""How links are shown: what is asked of each direction, by whom, and what is in force."""

from __future__ import annotations

from collections.abc import Sequence

import click

from net.links.words import link_text, name_of
from net.units import format_duration, format_rate
from otter_agent import api
from otter_ctl.cli.times import local
from otter_ctl.printable import printable_lines

LATE_S = 0.001
"""Mean lateness of a link's packets that tells of an overloaded machine."""
MOST = 8
"""Lines of one sort; then they are counted."""


def show_links(links: Sequence[api.LinkStatus]) -> None:
    """A table of directions; below it, what isn't as asked."""
    from otter_ctl.cli.tables import print_table

    titles: tuple[str, ...] = ("LINK", "FROM", "TO", "DRIVER", "ASKED", "APPLIED", "BY HAND")
    rows: list[tuple[object, ...]] = [
        (x.name, x.from_, x.to, x.driver, link_text(x.asked), _applied(x), _by_hand(x))
        for x in links
    ]
    if any(x.counters for x in links):  # a change's answer tells none
        titles = (*titles, "PASSED", "USED", "WAITS", "DROPPED")
        rows = [(*row, *_counted(x.counters)) for row, x in zip(rows, links, strict=True)]
    print_table(titles, rows)
    for link in links:
        way = f"{link.name}:{link.from_}>{link.to}"
        if link.error:
            click.secho(printable_lines(f"  {way}: {link.error}"), fg="red")
        for field, why in link.lacks.items():
            line = f"  {way}: {name_of(field)} is not made: {why}"
            click.secho(printable_lines(line), fg="yellow")
    for line in too_slow(links):
        click.secho(printable_lines(f"  {line}"), fg="yellow")


def show_drivers(machines: Sequence[api.MachineStatus]) -> None:
    """Below the links: what shapes them, why that, and how exactly; machines alike in one line."""
    alike: dict[str, list[str]] = {}
    for machine in machines:
        if machine.link_driver:  # else it gave no answer
            alike.setdefault(_driver(machine), []).append(machine.name)
    for words, names in alike.items():
        more = f" and {len(names) - 3} more" if names[3:] else ""
        whose = f"{', '.join(names[:3])}{more}: " if len(machines) > 1 else ""
        click.echo(printable_lines(f"  {whose}{words}"))


def _driver(machine: api.MachineStatus) -> str:
    words = f"driver {machine.link_driver}"
    if why := machine.link_driver_why.removeprefix(f"{machine.link_driver}: "):
        words += f": {why}"
    if machine.link_error_s is not None:
        words += f"; delays are off by {format_duration(machine.link_error_s)} (median)"
    return words


def show_tunnels(links: Sequence[api.LinkStatus]) -> None:
    """A table of what leads to other machines, and how that is; none where nothing does."""
    from otter_ctl.cli.tables import print_table

    away = [link for link in links if link.tunnel is not None]
    if not away:
        return
    click.echo()
    print_table(
        ("BETWEEN MACHINES", "FROM", "TO", "BY", "NETWORK", "STATE"),
        [
            (x.name, x.from_, x.to, x.tunnel.kind, network(x.tunnel), _tunnel_state(x.tunnel))
            for x in away
            if x.tunnel is not None
        ],
    )
    for why in dict.fromkeys(x.tunnel.why for x in away if x.tunnel is not None and x.tunnel.why):
        click.echo(printable_lines(f"  {why}"))


def network(tunnel: api.TunnelState | api.Tunnel) -> str:
    """What the network between machines does, as far as it is known."""
    if tunnel.underlay is None:
        return "not measured"
    taken = " (taken off)" if tunnel.less_s else ""
    words = [f"{format_duration(tunnel.underlay.delay_s)}{taken}"]
    if tunnel.underlay.rate_bps is not None:
        words.append(format_rate(tunnel.underlay.rate_bps))
    return ", ".join(words)


def _tunnel_state(tunnel: api.TunnelState) -> str:
    if tunnel.joined is None:
        return ""
    if not tunnel.joined:
        return "no answer yet"
    wrong = tunnel.forged + tunnel.replayed
    more = f"; {wrong} packets of others dropped" if wrong else ""
    return f"answers at {tunnel.peer}{more}"


def too_slow(links: Sequence[api.LinkStatus]) -> list[str]:
    """Links that were something else than asked, as this machine couldn't keep up: a line each."""
    lines = []
    for link in links:
        told = link.counters
        if told is None:
            continue
        words = []
        if overrun := told.dropped.get("overrun"):
            words.append(f"{overrun} packets were lost on the way to it")
        if (told.late_mean_s or 0.0) > LATE_S:
            words.append(f"packets were {_ms(told.late_mean_s)} late on average")
        if words:
            why = " and ".join(words)
            way = f"{link.name}:{link.from_}>{link.to}"
            lines.append(f"{way}: this machine is too slow: {why}; what was measured is its lack")
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"and {len(lines) - MOST} more likewise"]
    return lines


def doubts(fidelity: api.Fidelity) -> list[str]:
    """Why a run isn't what was asked for: a line each; none where it is."""
    if fidelity.valid:
        return []
    lines = [f"this run is not what was asked for ({len(fidelity.why)} causes):"]
    for doubt in fidelity.why:
        when = local(doubt.since, "%H:%M:%S")
        lines.append(f"  {doubt.text}, for {format_duration(round(doubt.seconds, 1))} since {when}")
    lines.append("  what modules measured then is this machine's lack: docs/fidelity.md")
    return lines


def show_doubts(fidelity: api.Fidelity) -> None:
    """The same on stderr."""
    for line in doubts(fidelity):
        click.secho(printable_lines(line), fg="yellow", err=True)


def show_cells(cells: Sequence[api.CellStatus]) -> None:
    """A table of media that hosts share; none where there are none."""
    from otter_ctl.cli.tables import print_table

    if not cells:
        return
    click.echo()
    print_table(
        ("CELL", "HOST", "UPLINK", "DOWNLINK", "MEMBERS"),
        [
            (
                *(x.name, x.host, _capacity(x.uplink_bps), _capacity(x.downlink_bps)),
                _members(x.present) + (" (half duplex)" if x.half_duplex else ""),
            )
            for x in cells
        ],
    )


def _capacity(rate_bps: float | None) -> str:
    return "(differs)" if rate_bps is None else format_rate(rate_bps)


def _members(hosts: Sequence[str]) -> str:
    some = ", ".join(hosts[:MOST])
    return some if len(hosts) <= MOST else f"{some}, … ({len(hosts)})"


def warnings(links: Sequence[api.LinkStatus]) -> list[str]:
    """What keeps links from being what the topology says: lines for people, few of them."""
    lines = [
        f"link {x.name}:{x.from_}>{x.to}: {name_of(field)} is not made: {why}"
        for x in links
        for field, why in x.lacks.items()
    ]
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"and {len(lines) - MOST} more likewise: otterctl shape show"]
    return [*lines, *by_hand(links)]


def by_hand(links: Sequence[api.LinkStatus]) -> list[str]:
    """That links were changed by hand, which an apply keeps: a line, or none."""
    ways = [f"{x.name}:{x.from_}>{x.to}" for x in links if "shape" in x.layers]
    if not ways:
        return []
    some = ", ".join(ways[:MOST]) + (", …" if len(ways) > MOST else "")
    return [f"changed by hand, and kept so: {some}; otterctl shape reset undoes it"]


def _counted(counters: api.LinkCounters | None) -> tuple[object, ...]:
    """What passed, how much of the rate that is, what waits for it, and `loss 12, queue 3`."""
    if counters is None:
        return ("",) * 4
    told = counters.dropped.items()
    used = "" if counters.use_ratio is None else f"{counters.use_ratio:.0%}"
    waits = "" if counters.queue_delay_s is None else _ms(counters.queue_delay_s)
    dropped = ", ".join(f"{cause} {count}" for cause, count in told if count)
    return counters.packets, used, waits, dropped


def _ms(seconds: float | None) -> str:
    return f"{(seconds or 0.0) * 1000:.3g} ms"


def _applied(link: api.LinkStatus) -> str:
    return "?" if link.applied is None else link_text(link.applied)


def _by_hand(link: api.LinkStatus) -> str:
    if "shape" not in link.layers:
        return ""
    text = link_text(link.layers["shape"])
    if link.reverts_in_s is None:
        return text
    return f"{text} (reverts in {format_duration(round(link.reverts_in_s, 1))})"
