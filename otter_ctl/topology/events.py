"""`[[events]]` -> `TimedEvent`s: what they happen to, and that it makes sense there.

Must not know: TOML, positions, when the epoch is.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from net.conditions import Condition
from net.links.changes import Change, problems
from net.links.spec import LinkSpec
from net.links.timeline import Event
from net.links.words import host_text, link_text
from net.units import format_duration
from otter_ctl.topology.attach import is_attach
from otter_ctl.topology.cell_events import CAPACITY, Ways, cell_parts, is_sound
from otter_ctl.topology.conditions import Known, read_condition
from otter_ctl.topology.globs import Names, is_glob
from otter_ctl.topology.model import (
    EVENTS_LIMIT,
    Cell,
    Host,
    Link,
    Module,
    Stream,
    TimedEvent,
)
from otter_ctl.topology.names import short
from otter_ctl.topology.properties import key_of, values_of
from otter_ctl.topology.reader import Fields, Place, shown

TARGETS_LIMIT = 1_000_000
"""Links times events: more is a slip of a glob."""
_KEYS = {"at_s": "at", "change": "set", "for_s": "for", "every_s": "every", "ramp_s": "ramp"}
_OF_HOSTS = {
    "cpu": "cpu", "memory": "memory_bytes", "speed": "speed", "gpu_share": "gpu_share",
}  # fmt: skip
_OF_DISKS = {
    "read": "read_bytes_per_s", "write": "write_bytes_per_s",
    "read_iops": "read_iops", "write_iops": "write_iops",
}  # fmt: skip
_TARGETS = ("link", "cell", "host", "module")
_RUNS = {"start": "running", "stop": "stopped", "pause": "paused"}
"""Actions that are states, and so last; the others are over at once."""
_APART = (
    ("when", "at", "it happens at a time, or on a condition"),
    ("every", "when", "again = true in `when` has it happen each time"),
    ("action", "set", "write two events"),
    ("action", "reset", "write two events"),
    ("ramp", "action", "leave it out"),
)
"""Key, key that it goes not with, what to do."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What events can happen to, and wait for; None: it couldn't be read."""

    links: Sequence[Link]
    cells: Sequence[Cell] = ()
    hosts: Mapping[str, Host] | None = None
    modules: Mapping[str, Module] | None = None
    streams: Sequence[Stream] | None = None


class _Index:
    """All targets by their names."""

    def __init__(self, targets: Targets) -> None:
        self.links = {link.name: link for link in targets.links}
        self.cells = {cell.name: cell for cell in targets.cells}
        made_from = (x.made_from for x in targets.links)
        self.link_names = Names("link", self.links, made_from)
        self.cell_names = Names("cell", self.cells)
        self.limited: dict[str, Mapping[str, Host] | Mapping[str, Module] | None] = {
            "host": targets.hosts,
            "module": targets.modules,
        }
        self.limited_names = {
            kind: None if of is None else Names(kind, of, (x.made_from for x in of.values()))
            for kind, of in self.limited.items()
        }
        self.known = Known(targets.hosts, targets.modules, targets.streams, self.links)


def read_events(written: Sequence[Fields], targets: Targets) -> tuple[TimedEvent, ...]:
    """All sound events, in the order of the file.

    One of a cell is one or several of its members' links; those with `attach` are left out.
    """
    index = _Index(targets)
    events: list[TimedEvent] = []
    hit = 0
    for own in written:
        if len(events) >= EVENTS_LIMIT:
            own.place.report(f"there are more than {EVENTS_LIMIT} events")
            break
        if hit > TARGETS_LIMIT:
            own.place.report(f"events happen to more than {TARGETS_LIMIT} links, all together")
            break
        if is_attach(own) or not _is_whole(own):
            continue
        when = read_condition(own["when"], index.known) if "when" in own else None
        if "when" in own and when is None:
            continue
        if "cell" in own:
            parts = cell_parts(own, index.cell_names, index.cells)
        else:
            change = _change(own)
            parts = [] if change is None else [(change, _ways(own, index.link_names, index.links))]
        for change, ways in parts:
            event = _event(own, change, ways, index, when)
            if event is None:
                break
            events.append(event)
            hit += len(event.both) + len(event.forward) + len(event.reverse)
            hit += len(event.hosts) + len(event.modules)
    return tuple(events)


def _is_whole(own: Fields) -> bool:
    """Whether it says when, what and to what; reports what is missing."""
    if not own.given & {"set", "reset", "action"}:
        own.place.report("missing key `set`", 'such as set = { rate = "1mbit" }, or reset = true')
        return False
    targets = [key for key in _TARGETS if key in own.given]
    if len(targets) != 1:
        both = f"`{targets[0]}` goes not with `{targets[1]}`" if targets else "missing key `link`"
        hint = 'it happens to links, cells, hosts or modules: link = "radio"'
        own.place.report(both, hint)
        return False
    if "at" not in own.given and "when" not in own.given:
        hint = "it says when it begins, from the epoch; or write `when`, a condition"
        own.place.report("missing key `at`", hint)
        return False
    for key, other, hint in _APART:
        if key in own.given and other in own.given:
            own.place.child(key).report(f"goes not with `{other}`", hint)
            return False
    if "action" in own.given and targets != ["module"]:
        own.place.child("action").report("is of modules", 'write module = "…"')
        return False
    return not own.given - own.values.keys()  # else reported


def _event(
    own: Fields, change: Change, ways: Ways, index: _Index, when: Condition | None
) -> TimedEvent | None:
    """One event; None after reporting."""
    timed = _timed(own, change)
    if timed is None:
        return None
    found = {kind: _named(own, kind, index) for kind in index.limited}
    if not (any(ways.values()) or any(found.values())):
        return None
    if not _makes_sense(own, timed, ways, index.links) or not _can_ramp(own, timed, found, index):
        return None
    return TimedEvent(
        at_s=timed.at_s,
        both=tuple(ways["both"]),
        forward=tuple(ways["forward"]),
        reverse=tuple(ways["reverse"]),
        hosts=tuple(found["host"]),
        modules=tuple(found["module"]),
        action=own["action"] if timed.action else "",
        when=when,
        change=change,
        reset=timed.reset,
        for_s=timed.for_s,
        every_s=timed.every_s,
        ramp_s=timed.ramp_s,
        text=_text(own, timed),
    )


def _timed(own: Fields, change: Change) -> Event | None:
    """When it happens; None after reporting."""
    timed = Event(
        number=0,
        at_s=own.get("at", 0.0),
        change=change,
        reset=own.get("reset", False),
        for_s=own.get("for"),
        every_s=own.get("every"),
        ramp_s=own.get("ramp", 0.0),
        action="" if own.get("action") in (None, *_RUNS) else own["action"],
    )
    problem = timed.problem()
    if problem is None:
        return timed
    key = _KEYS[problem[0]]
    place = own.place.child(key) if key in own.given else own.place
    place.report(problem[1] if key in own.given else f"`{key}` {problem[1]}")
    return None


def _named(own: Fields, kind: str, index: _Index) -> dict[str, None]:
    """The hosts or modules that it happens to, each once."""
    found: dict[str, None] = {}
    names = index.limited_names[kind]
    if names is None or kind not in own:
        return found
    for number, word in enumerate(own[kind]):
        place = own.place.child(kind)
        place = place.child(number) if len(own[kind]) > 1 else place
        found |= dict.fromkeys(names.find(word, place))
    return found


def _can_ramp(
    own: Fields, event: Event, found: Mapping[str, Collection[str]], index: _Index
) -> bool:
    """Whether there are cores from which a ramp begins; reports where there are none."""
    if not event.ramp_s or event.change.values.get("cpu") is None:
        return True
    for kind, names in found.items():
        of = index.limited[kind] or {}
        for name in names:
            if of[name].cpu is None:
                hint = f"write the {kind}'s `cpu`, from which the ramp begins"
                own.place.child("ramp").report(f"{kind} {shown(name)} has no cpu", hint)
                return False
    return True


def _change(own: Fields) -> Change | None:
    """What is set; None after reporting."""
    if "action" in own:
        run = _RUNS.get(own["action"])
        return Change() if run is None else Change({"run": run})
    written: Fields | None = own.get("set")
    if written is None:
        return Change()
    if not is_sound(written):
        return None
    limited = "host" in own or "module" in own
    ours = _OF_HOSTS.keys() | {"io", "network"}
    wrong = sorted(written.given & (ours | CAPACITY.keys()))
    if limited:
        wrong = sorted(written.given - (ours - {"speed"} if "module" in own else ours))
    for key in wrong:
        other = "cells" if key in CAPACITY else "links" if limited else "hosts and modules"
        other = "hosts" if key == "speed" else other
        written.place.child(key).report(f"is of {other}")
    if wrong:
        return None
    for key in ("io", "network"):
        if key in written and not written[key].given:
            written.place.child(key).report("must say what it changes")
            return None
    if limited:
        return Change(_limits(written))
    return Change.of(**values_of(written))


def _limits(written: Fields) -> dict[str, float]:
    values = {field: written[key] for key, field in _OF_HOSTS.items() if key in written}
    disks: Fields | None = written.get("io")
    if disks is not None:
        values |= {field: disks[key] for key, field in _OF_DISKS.items() if key in disks}
    rates: Fields | None = written.get("network")
    if rates is not None:
        values |= {f"{key}_bps": rates[key] for key in ("in", "out") if key in rates}
    return values


def _ways(own: Fields, names: Names, links: dict[str, Link]) -> Ways:
    """`both`, `forward` and `reverse` -> links; each direction once; none of an event of hosts."""
    if "link" not in own:
        return {"both": [], "forward": [], "reverse": []}
    hit: dict[str, set[str]] = {}
    for number, (word, source, target) in enumerate(own["link"]):
        place = own.place.child("link")
        place = place.child(number) if len(own["link"]) > 1 else place
        found = names.find(word, place)
        matched = False
        for name in found:
            sides = _sides(links[name], source, target)
            matched = matched or bool(sides)
            hit.setdefault(name, set()).update(sides)
        if found and not matched:
            _no_direction(place, links[found[0]], source, target)
    ways: Ways = {"both": [], "forward": [], "reverse": []}
    for name, sides in hit.items():
        if sides:
            ways["both" if len(sides) > 1 else next(iter(sides))].append(name)
    return ways


def _sides(link: Link, source: str, target: str) -> set[str]:
    ends = {"forward": (link.a, link.b)}
    if link.reverse is not None:
        ends["reverse"] = (link.b, link.a)
    return {
        side
        for side, (a, b) in ends.items()
        if not source or (_matches(a, source) and _matches(b, target))
    }


def _matches(name: str, word: str) -> bool:
    return fnmatch.fnmatchcase(name, word) if is_glob(word) else name == word


def _no_direction(place: Place, link: Link, source: str, target: str) -> None:
    ways = [f"{link.a}>{link.b}", *([f"{link.b}>{link.a}"] if link.reverse is not None else [])]
    word = f"{source}>{target}"
    place.report(
        f"link {shown(link.name)} has no direction {shown(word)}", f"it has {', '.join(ways)}"
    )


def _makes_sense(own: Fields, event: Event, ways: Ways, links: dict[str, Link]) -> bool:
    """Whether what is set goes with what the topology asks there; tells of the first that won't."""
    if "set" not in own:
        return True
    judged: dict[LinkSpec, bool] = {}
    for name in (*ways["both"], *ways["forward"], *ways["reverse"]):
        link = links[name]
        below = [link.forward] if name not in ways["reverse"] else []
        below += [link.reverse] if link.reverse and name not in ways["forward"] else []
        for spec in below:
            if spec not in judged:
                judged[spec] = _fits(own, event, name, spec)
            if not judged[spec]:
                return False
    return True


def _fits(own: Fields, event: Event, link: str, spec: LinkSpec) -> bool:
    wrong = problems(event.change, spec)
    for field, why in wrong.items():
        key = key_of(field)
        place = own["set"].place
        (place.child(key) if key in own["set"].given else place).report(
            why if key in own["set"].given else f"`{key}` {why}", f"of link {shown(link)}"
        )
    if wrong:
        return False
    if event.ramp_s and event.change.values.get("rate_bps") is not None and spec.rate_bps is None:
        hint = "write the link's `rate`, from which the ramp begins"
        own.place.child("ramp").report(f"link {shown(link)} has no rate", hint)
        return False
    return True


def _text(own: Fields, event: Event) -> str:
    """`radio: rate 1mbit, loss 5% for 5s`."""
    words = [f"{link}:{a}>{b}" if a else link for link, a, b in own.get("link", ())]
    words += [f"cell {cell}" for cell in own.get("cell", ())]
    words += own.get("host", ()) or own.get("module", ())
    limited = "host" in own or "module" in own
    changed = (host_text if limited else link_text)(event.change.asked())
    what = " and ".join(filter(None, ("reset" if event.reset else "", changed)))
    what = what or own.get("action", "")
    text = f"{short(', '.join(words))}: {what}"
    if event.ramp_s:
        text += f" by a ramp of {format_duration(event.ramp_s)}"
    if event.for_s is not None:
        text += f" for {format_duration(event.for_s)}"
    return text
