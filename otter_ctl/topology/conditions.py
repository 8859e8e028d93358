"""`when` of an event -> `Condition`: one thing that is asked of one module, stream, link or host.

Must not know: TOML, positions, who looks whether it is so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from net.conditions import TESTS, Condition, Subject
from net.units import format_duration, format_ratio, format_size
from otter_ctl.topology.globs import is_glob
from otter_ctl.topology.keys_when import WHEN
from otter_ctl.topology.model import Link, Stream
from otter_ctl.topology.reader import INVALID, Fields, Place, did_you_mean, shown

_SUBJECTS: tuple[Subject, ...] = get_args(Subject)
_MOST_SHOWN = 4
_WORDS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "state": ("{0} is {1}", str),
    "restarts": ("{0} was started again {1} times", str),
    "messages": ("{0} brought {1} messages", str),
    "lost": ("{0} lost {1} messages", str),
    "waiting_above": ("more than {1} messages wait in {0}", "{:g}".format),
    "rate_above": ("{0} brings more than {1} messages/s", "{:g}".format),
    "rate_below": ("{0} brings fewer than {1} messages/s", "{:g}".format),
    "packets": ("{0} passed {1} packets", str),
    "bytes": ("{0} passed {1}", format_size),
    "dropped": ("{0} dropped {1} packets", str),
    "queue_delay_above": ("packets wait for {0} longer than {1}", format_duration),
    "use_above": ("{0} is used by more than {1}", format_ratio),
    "use_below": ("{0} is used by less than {1}", format_ratio),
    "cpu_above": ("{0} uses more than {1} cores", "{:g}".format),
    "cpu_below": ("{0} uses fewer than {1} cores", "{:g}".format),
    "memory_above": ("{0} uses more than {1} of memory", format_size),
}


@dataclass(frozen=True, slots=True)
class Known:
    """What conditions can look at; None: it couldn't be read, so nothing is looked up."""

    hosts: Collection[str] | None = None
    modules: Collection[str] | None = None
    streams: Sequence[Stream] | None = None
    links: Mapping[str, Link] = field(default_factory=dict)


def read_condition(own: Fields, known: Known) -> Condition | None:
    """What an event waits for; None after reporting."""
    where = own.place.path
    if any(problem.path[: len(where)] == where for problem in own.place.problems):
        return None  # a key is unknown, or isn't sound: there may have been a word for it
    kind = _one_of(own, _SUBJECTS, "what it looks at", 'such as when = { module = "asr", … }')
    if kind is None:
        return None
    tests = [test for its in TESTS.values() for test in its]
    there = ", ".join(TESTS[kind])
    test = _one_of(own, tests, f"what is asked of the {kind}", f"one of {there}")
    if test is None:
        return None
    if test not in TESTS[kind]:
        has = next(other for other, its in TESTS.items() if test in its)
        own.place.child(test).report(f"is of a {has}, not of a {kind}", f"it has {there}")
        return None
    found = _subject(own, kind, known)
    return None if found is None else _condition(own, kind, test, *found)


def _one_of(own: Fields, keys: Sequence[Any], what: str, hint: str) -> Any:
    """The one key of these that is written; None after reporting."""
    given = [key for key in dict.fromkeys(keys) if key in own.given]
    if not given:
        own.place.report(f"`when` doesn't say {what}", hint)
    elif len(given) > 1:
        why = f"`{given[0]}` goes not with `{given[1]}`"
        own.place.report(why, "a condition asks one thing of one: write two events")
    return given[0] if len(given) == 1 else None


def _condition(
    own: Fields, kind: Subject, test: str, name: str, direction: str
) -> Condition | None:
    rearm = None
    if "rearm" in own:
        rearm = own.place.child("rearm").read(WHEN.keys[test].kind, own["rearm"])
        if rearm is INVALID:
            return None
        if not isinstance(rearm, int | float):
            own.place.child("rearm").report(f"goes not with `{test}`")
            return None
    value = own[test]
    condition = Condition(
        kind=kind,
        name=name,
        direction=direction,
        test=test,
        bound=0.0 if test == "state" else float(value),
        state=value if test == "state" else "",
        for_s=own.get("for", 0.0),
        again=own.get("again", False),
        rearm=None if rearm is None else float(rearm),
        text=_text(own, test, name, direction),
    )
    if problem := condition.problem():
        about_rearm = problem.startswith("`rearm`")
        key = "rearm" if about_rearm else "for" if "held" in problem else test
        own.place.child(key).report(problem.removeprefix("`rearm` ") if about_rearm else problem)
        return None
    return condition


def _subject(own: Fields, kind: Subject, known: Known) -> tuple[str, str] | None:
    """Its name, and of a link the direction; None after reporting."""
    place = own.place.child(kind)
    if kind == "link":
        return _link(own[kind], known.links, place)
    if kind == "stream":
        return None if known.streams is None else _stream(own[kind], known.streams, place)
    there = known.hosts if kind == "host" else known.modules
    return (
        None if there is None or not _is_there(own[kind], kind, there, place) else (own[kind], "")
    )


def _is_there(name: str, kind: str, there: Collection[str], place: Place) -> bool:
    if name in there:
        return True
    several = [other for other in there if other.startswith(f"{name}-")]
    hint = f"it was made several: name one, such as `{several[0]}`" if several else ""
    near = "" if several else did_you_mean(name, there, place)
    place.report(f"unknown {kind} {shown(name)}{near}", hint)
    return False


def _link(
    written: tuple[str, str, str], links: Mapping[str, Link], place: Place
) -> tuple[str, str] | None:
    name, source, target = written
    if any(map(is_glob, written)):
        place.report("must name one link", "a condition looks at one: write an event for each")
        return None
    if not _is_there(name, "link", links, place):
        return None
    link = links[name]
    ends = [(link.a, link.b), *([(link.b, link.a)] if link.reverse is not None else [])]
    if not source:
        return name, ""
    if (source, target) in ends:
        return name, f"{source}>{target}"
    has = ", ".join(f"{a}>{b}" for a, b in ends)
    place.report(
        f"link {shown(name)} has no direction {shown(f'{source}>{target}')}", f"it has {has}"
    )
    return None


def _stream(written: str, streams: Sequence[Stream], place: Place) -> tuple[str, str] | None:
    """By its full name, or by that of its output where only one stream begins there."""
    found = [
        stream.name
        for stream in streams
        if written in (stream.name, f"{stream.source}.{stream.output}")
    ]
    if len(found) == 1:
        return found[0], ""
    if found:
        some = ", ".join(found[:_MOST_SHOWN]) + (", …" if found[_MOST_SHOWN:] else "")
        place.report(f"{shown(written)} is sent to several: name one stream", f"there are {some}")
        return None
    names = [*(f"{s.source}.{s.output}" for s in streams), *(s.name for s in streams)]
    near = did_you_mean(written, list(dict.fromkeys(names)), place)
    place.report(f"unknown stream {shown(written)}{near}")
    return None


def _text(own: Fields, test: str, name: str, direction: str) -> str:
    """`packets wait for radio:phone>edge longer than 50ms for 2s, each time`."""
    words, form = _WORDS[test]
    subject = f"{name}:{direction}" if direction else name
    text = words.format(subject, form(own[test]))
    held = f" for {format_duration(own['for'])}" if "for" in own else ""
    return f"{text}{held}{', each time' if own.get('again') else ''}"
