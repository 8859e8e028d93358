"""How links are shown: what is asked of each direction, by whom, and what is in force."""

from __future__ import annotations

from collections.abc import Sequence

import click

from net.links.words import link_text, name_of
from net.units import format_duration, format_rate
from otter_agent import api

MOST = 8
"""Lines of one sort; then they are counted."""


def show_links(links: Sequence[api.LinkStatus]) -> None:
    """A table of directions; below it, what isn't as asked."""
    from otter_ctl.cli.tables import print_table

    print_table(
        ("LINK", "FROM", "TO", "DRIVER", "ASKED", "APPLIED", "BY HAND"),
        [
            (x.name, x.from_, x.to, x.driver, link_text(x.asked), _applied(x), _by_hand(x))
            for x in links
        ],
    )
    for link in links:
        way = f"{link.name}:{link.from_}>{link.to}"
        if link.error:
            click.secho(f"  {way}: {link.error}", fg="red")
        for field, why in link.lacks.items():
            click.secho(f"  {way}: {name_of(field)} is not made: {why}", fg="yellow")


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
    by_hand = [f"{x.name}:{x.from_}>{x.to}" for x in links if "shape" in x.layers]
    if by_hand:
        some = ", ".join(by_hand[:MOST]) + (", …" if len(by_hand) > MOST else "")
        lines.append(f"changed by hand, and kept so: {some}; otterctl shape reset undoes it")
    return lines


def _applied(link: api.LinkStatus) -> str:
    return "?" if link.applied is None else link_text(link.applied)


def _by_hand(link: api.LinkStatus) -> str:
    if "shape" not in link.layers:
        return ""
    text = link_text(link.layers["shape"])
    if link.reverts_in_s is None:
        return text
    return f"{text} (reverts in {format_duration(round(link.reverts_in_s, 1))})"
