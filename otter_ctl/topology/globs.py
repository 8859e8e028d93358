"""Globs over names (`client-*`) and how the ends of links and streams pair up. Pure.

    by index      counts agree: the first with the first, the second with the second, …
    all with all  counts differ, or one side is a single name
    mesh          both sides are the same: each with every other, itself left out

Must not know: TOML, what the names are of.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from otter_ctl.topology.reader import Bad, Place, did_you_mean, shown

Pairing = Literal["index", "all"]
Rule = Literal["by index", "all with all", "mesh"]

PATTERNS_LIMIT = 1000
"""Different globs of one file: each is matched against every name."""
_MAGIC = frozenset("*?[")


def is_glob(word: str) -> bool:
    """Whether a word stands for the names that match it."""
    return not _MAGIC.isdisjoint(word)


class Names:
    """Names in the order of the file, found by themselves or by a glob.

    Args:
        what: They are names of: `host`, `module`.
        names: Of all, expanded.
        tables: Names of the tables that made several of them.
    """

    def __init__(self, what: str, names: Iterable[str], tables: Iterable[str] = ()) -> None:
        self.what = what
        self._names = dict.fromkeys(names)
        self._tables = {table for table in tables if table}
        self._found: dict[str, tuple[str, ...]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def match(self, word: str) -> tuple[str, ...]:
        """The names that a name or glob stands for, in order; none: empty.

        Raises:
            Bad: The file has too many different globs.
        """
        if not is_glob(word):
            return (word,) if word in self._names else ()
        found = self._found.get(word)
        if found is None:
            if len(self._found) >= PATTERNS_LIMIT:
                raise Bad(f"there are over {PATTERNS_LIMIT} different globs in this file")
            matches = re.compile(fnmatch.translate(word)).match
            found = self._found[word] = tuple(name for name in self._names if matches(name))
        return found

    def find(self, word: str, place: Place) -> tuple[str, ...]:
        """As `match`, but what stands for nothing is reported."""
        try:
            found = self.match(word)
        except Bad as bad:
            place.report(bad.reason, bad.hint)
            return ()
        if found:
            return found
        if word in self._tables and not is_glob(word):
            place.report(
                f"unknown {self.what} {shown(word)}", f'it was made several: write "{word}-*"'
            )
        elif is_glob(word):
            near = did_you_mean(word, [*(f"{t}-*" for t in self._tables), *self._names], place)
            place.report(f"{shown(word)} matches no {self.what}{near}")
        else:
            near = did_you_mean(word, self._names, place)
            place.report(f"unknown {self.what} {shown(word)}{near}")
        return ()


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link or stream, as it is written: a name or a glob."""

    word: str
    place: Place


def join(
    ends: tuple[End, End],
    names: Names | None,
    how: Pairing | None,
    place: Place,
    *,
    both_ways: bool,
    limit: int,
) -> tuple[Iterable[tuple[str, str]], str]:
    """The names that a table joins, and by which rule; none after reporting.

    Args:
        ends: As written; two names are one pair, whatever they are.
        names: That there are; None: they couldn't be read, so none is looked up.
        how: As for `pair`.
        place: Of the table.
        both_ways: As for `pair`.
        limit: As for `pair`.
    """
    a, b = ends
    several = is_glob(a.word) or is_glob(b.word)
    if names is None:
        return ([] if several else [(a.word, b.word)]), ""
    left, right = names.find(a.word, a.place), names.find(b.word, b.place)
    if not left or not right:
        return [], ""
    if not several:
        return [(a.word, b.word)], ""
    try:
        pairs, rule = pair(left, right, how, both_ways=both_ways, limit=limit)
    except Bad as bad:
        place.report(f"{shown(a.word)} and {shown(b.word)}: {bad.reason}", bad.hint)
        return [], ""
    first = next(pairs, None)
    if first is None:
        b.place.report(f"joins {names.what} {shown(left[0])} with itself")
        return [], ""
    return chain([first], pairs), rule


def pair(
    left: Sequence[str], right: Sequence[str], how: Pairing | None, *, both_ways: bool, limit: int
) -> tuple[Iterator[tuple[str, str]], Rule]:
    """Which name of the one side goes with which of the other, never one with itself.

    They are made one by one: of tables that all make the same pairs, only the first costs time.

    Args:
        left: Matches of the first end, at least one.
        right: Matches of the second, at least one.
        how: What was asked for; None: by index where counts agree, else all with all.
        both_ways: A pair and its reverse are the same, and are given once.
        limit: Most pairs that are wanted; checked before they are made.

    Raises:
        Bad: By index was asked for and counts differ; or they are too many.
    """
    agree = len(left) == len(right)
    same = agree and len(left) > 1 and tuple(left) == tuple(right)
    if how == "index" and not agree:
        raise Bad(f"{len(left)} and {len(right)} don't pair by index: counts differ")
    if how == "index" or (how is None and agree and not same):
        return ((a, b) for a, b in zip(left, right, strict=True) if a != b), "by index"
    if len(left) * len(right) > limit * (2 if both_ways else 1):
        raise Bad(f"{len(left)} with {len(right)} make more than {limit} pairs")
    pairs: Iterator[tuple[str, str]] = ((a, b) for a in left for b in right if a != b)
    if both_ways and not set(left).isdisjoint(right):
        pairs = _once(pairs)
    return pairs, "mesh" if same else "all with all"


def _once(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Of a pair and its reverse the first."""
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        if pair[::-1] not in seen:
            seen.add(pair)
            yield pair
