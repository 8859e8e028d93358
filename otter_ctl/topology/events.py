"""`[[events]]` -> `TimedEvent`s: what they happen to, and that it makes sense there.

Must not know: TOML, positions, when the epoch is.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from net.links.changes import Change, problems
from net.links.spec import LinkSpec
from net.links.timeline import Event
from net.links.words import host_text, link_text
from net.units import format_duration
from otter_ctl.topology.attach import is_attach
from otter_ctl.topology.cell_events import CAPACITY, Ways, cell_parts, is_sound
from otter_ctl.topology.globs import Names, is_glob
from otter_ctl.topology.model import EVENTS_LIMIT, Cell, Link, TimedEvent
from otter_ctl.topology.names import short
from otter_ctl.topology.properties import key_of, values_of
from otter_ctl.topology.reader import Fields, Place, shown

TARGETS_LIMIT = 1_000_000
"""Links times events: more is a slip of a glob."""
_KEYS = {"at_s": "at", "change": "set", "for_s": "for", "every_s": "every", "ramp_s": "ramp"}
_OF_HOSTS = {"cpu": "cpu", "memory": "memory_bytes"}


def read_events(
    written: Sequence[Fields],
    links: Sequence[Link],
    hosts: Names | None,
    cells: Sequence[Cell] = (),
) -> tuple[TimedEvent, ...]:
    """All sound events, in the order of the file; `hosts` None: they couldn't be read.

    One of a cell is one or several of its members' links; those with `attach` are left out.
    """
    cell_names = Names("cell", (cell.name for cell in cells))
    by_cell = {cell.name: cell for cell in cells}
    names = Names("link", (x.name for x in links), (x.made_from for x in links))
    by_name = {link.name: link for link in links}
    events: list[TimedEvent] = []
    targets = 0
    for own in written:
        if len(events) >= EVENTS_LIMIT:
            own.place.report(f"there are more than {EVENTS_LIMIT} events")
            break
        if targets > TARGETS_LIMIT:
            own.place.report(f"events happen to more than {TARGETS_LIMIT} links, all together")
            break
        if is_attach(own) or not _is_whole(own):
            continue
        if "cell" in own:
            parts = cell_parts(own, cell_names, by_cell)
        else:
            parts = [(x, _ways(own, names, by_name)) for x in (_change(own),) if x is not None]
        for change, ways in parts:
            event = _event(own, change, ways, by_name, hosts)
            if event is None:
                break
            events.append(event)
            targets += len(event.both) + len(event.forward) + len(event.reverse)
            targets += len(event.hosts)
    return tuple(events)


def _is_whole(own: Fields) -> bool:
    """Whether it says when, what and to what; reports what is missing."""
    if not own.given & {"set", "reset"}:
        own.place.report("missing key `set`", 'such as set = { rate = "1mbit" }, or reset = true')
        return False
    targets = [key for key in ("link", "cell", "host") if key in own.given]
    if len(targets) != 1:
        both = f"`{targets[0]}` goes not with `{targets[1]}`" if targets else "missing key `link`"
        own.place.report(both, 'it happens to links, cells or hosts: link = "radio"')
        return False
    return not own.given - own.values.keys() and "at" in own  # else reported


def _event(
    own: Fields, change: Change, ways: Ways, links: dict[str, Link], hosts: Names | None
) -> TimedEvent | None:
    """One event; None after reporting."""
    timed = _timed(own, change)
    if timed is None:
        return None
    found = _hosts(own, hosts) if "host" in own else {}
    if not (any(ways.values()) or found) or not _makes_sense(own, timed, ways, links):
        return None
    return TimedEvent(
        at_s=timed.at_s,
        both=tuple(ways["both"]),
        forward=tuple(ways["forward"]),
        reverse=tuple(ways["reverse"]),
        hosts=tuple(found),
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
        at_s=own["at"],
        change=change,
        reset=own.get("reset", False),
        for_s=own.get("for"),
        every_s=own.get("every"),
        ramp_s=own.get("ramp", 0.0),
    )
    problem = timed.problem()
    if problem is None:
        return timed
    key = _KEYS[problem[0]]
    place = own.place.child(key) if key in own.given else own.place
    place.report(problem[1] if key in own.given else f"`{key}` {problem[1]}")
    return None


def _hosts(own: Fields, hosts: Names | None) -> dict[str, None]:
    """The hosts that it happens to, each once."""
    found: dict[str, None] = {}
    if hosts is None:
        return found
    for number, word in enumerate(own["host"]):
        place = own.place.child("host")
        place = place.child(number) if len(own["host"]) > 1 else place
        found |= dict.fromkeys(hosts.find(word, place))
    return found


def _change(own: Fields) -> Change | None:
    """What is set; None after reporting."""
    written: Fields | None = own.get("set")
    if written is None:
        return Change()
    if not is_sound(written):
        return None
    wrong = sorted(written.given & (_OF_HOSTS.keys() | CAPACITY.keys()))
    if "host" in own:
        wrong = sorted(written.given - _OF_HOSTS.keys())
    for key in wrong:
        other = "cells" if key in CAPACITY else "links" if "host" in own else "hosts"
        written.place.child(key).report(f"is of {other}")
    if wrong:
        return None
    if "host" in own:
        return Change({field: written[key] for key, field in _OF_HOSTS.items() if key in written})
    return Change.of(**values_of(written))


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
    place.report(f"link {shown(link.name)} has no direction {shown(word)}", f"it has {ways}")


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
    words += own.get("host", ())
    changed = (host_text if "host" in own else link_text)(event.change.asked())
    what = " and ".join(filter(None, ("reset" if event.reset else "", changed)))
    text = f"{short(', '.join(words))}: {what}"
    if event.ramp_s:
        text += f" by a ramp of {format_duration(event.ramp_s)}"
    if event.for_s is not None:
        text += f" for {format_duration(event.for_s)}"
    return text
