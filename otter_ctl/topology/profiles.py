"""Named devices and technologies -> the values that they stand for, from profiles.toml.

Its values are read by the same kinds as a topology's. Must not know: hosts and links themselves.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from otter_ctl.topology import kinds, values
from otter_ctl.topology.keys import HOST as HOST_KEYS
from otter_ctl.topology.properties import PROPERTIES, nearer
from otter_ctl.topology.reader import Fields, Key, Place, Table, did_you_mean, shown

Sort = Literal["hosts", "links"]
Way = Literal["up", "down", ""]

_ABOUT = (
    Key("title", values.PATH, "What it is, in words.", required=True),
    Key("source", kinds.array(values.PATH, least=1), "Where its numbers are from.", required=True),
)
_WAY = Table("way", *PROPERTIES)
_TABLES = {
    "hosts": Table("hosts", *_ABOUT, *HOST_KEYS.only("", "cpu", "memory", "speed").keys.values()),
    "links": Table(
        "links",
        *_ABOUT,
        Key("part", values.PATH, "Of what the delay is, if not of the way to a server."),
        Key("up", kinds.table(_WAY), "From the device to the network.", required=True),
        Key("down", kinds.table(_WAY), "From the network to the device.", required=True),
    ),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """One named device or technology, checked.

    Attributes:
        part: Of a link: of which part of the way its delay is; empty: of all, to a server.
        values: By key; of a link two tables, `up` and `down`.
    """

    name: str
    title: str
    source: tuple[str, ...]
    part: str
    values: dict[str, Any]


@cache
def profiles(sort: Sort) -> dict[str, Profile]:
    """All profiles of hosts or of links, by name."""
    from importlib import resources  # takes 4 ms, and few topologies name a profile

    data = resources.files("otter_ctl.topology").joinpath("profiles.toml").read_text("utf-8")
    root = Place([])
    found = {}
    for name, raw in tomllib.loads(data)[sort].items():
        fields = root.child(sort, name).read(kinds.table(_TABLES[sort]), raw)
        if root.problems:
            raise ValueError(f"profiles.toml: {root.problems[0]}")  # a bug, and a test finds it
        about = ("title", "source", "part")
        held = {k: v for k, v in fields.values.items() if k not in about}
        title, source, part = fields["title"], fields["source"], fields.get("part", "")
        found[name] = Profile(name, title, source, part, held)
    return found


def over_profile(own: Fields | None, sort: Sort, way: Way = "") -> Fields | None:
    """A table's values on top of those of the profile that it names."""
    if own is None or "profile" not in own:
        return own
    profile = profiles(sort).get(own["profile"])
    if profile is None:
        return own
    held = profile.values[way].values if way else profile.values
    below = Fields(own.place, dict(held), set(held))
    return nearer(own, below) if way else own.over(below)


def check_profile(own: Fields | None, sort: Sort) -> None:
    """Report a profile that there isn't."""
    if own is None or "profile" not in own:
        return
    known = profiles(sort)
    if own["profile"] not in known:
        place = own.place.child("profile")
        near = did_you_mean(own["profile"], known, place)
        hint = f"there are {', '.join(known)}"
        place.report(f"unknown profile {shown(own['profile'])}{near}", hint)
