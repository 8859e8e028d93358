"""Where a Dockerfile puts the folder that it is built from. Pure.

Only what can be told for sure is told: then the folder itself can be shown in that place, and a
change of a file needs no build. Source: Dockerfile reference, COPY and WORKDIR.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LEAVES_ALONE = frozenset(
    {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER",
     "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)  # fmt: skip
"""Instructions that make nothing of the files."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What a Dockerfile does with its folder.

    Attributes:
        target: The folder inside in which it can be shown; None: it can't be told, or something
            is made of the files there, which would be hidden.
        built: Names of files from which other stages make something.
    """

    target: str | None
    built: frozenset[str] = frozenset()


def read(text: str) -> Placed:
    """What a Dockerfile does with its folder."""
    stages = list(_stages(text))
    if not stages or "<<" in text:
        return Placed(None)
    built: set[str] = set()
    for stage in stages[:-1]:
        for sources, _ in _copies(stage):
            built.update(sources)
    if _whole(built):
        return Placed(None)
    return Placed(_target(stages[-1]), frozenset(posixpath.normpath(name) for name in built))


def _target(stage: list[tuple[str, str]]) -> str | None:
    """The one folder into which the last stage copies the folder, or top-level files of it."""
    targets: set[str] = set()
    folder, copied = "/", False
    for word, rest in stage:
        if word == "WORKDIR":
            folder = posixpath.join(folder, rest.strip("\"'"))
        elif word == "COPY" and (copy := _copy(rest)) is not None:
            sources, place = copy
            copied = True
            whole = _whole(sources)
            if not whole and (any("/" in _plain(s) for s in sources) or not _is_folder(place)):
                return None
            targets.add(posixpath.normpath(posixpath.join(folder, place)))
        elif copied and word not in _LEAVES_ALONE:
            return None  # RUN, ADD: something may be made of them
    target = targets.pop() if len(targets) == 1 else ""
    return target if target.startswith("/") and target != "/" and "$" not in target else None


def _copies(stage: Iterable[tuple[str, str]]) -> Iterator[tuple[list[str], str]]:
    """The COPY and ADD of a stage that take from the build's folder."""
    for word, rest in stage:
        if word in ("COPY", "ADD") and (copy := _copy(rest)) is not None:
            yield copy


def _copy(rest: str) -> tuple[list[str], str] | None:
    """Sources and destination; None: it copies from another stage, or makes no sense."""
    options = re.match(r"(?:--\S+\s+)*", rest)
    assert options is not None
    if "--from=" in options[0]:
        return None
    rest = rest[options.end() :].strip()
    try:
        words = json.loads(rest) if rest.startswith("[") else rest.split()
    except ValueError:
        return None
    return (words[:-1], words[-1]) if len(words) > 1 else None


def _plain(source: str) -> str:
    return source.removeprefix("./").strip("/")


def _whole(sources: Iterable[str]) -> bool:
    """Whether these are all that there is in the folder."""
    return any(_plain(source) in ("", ".", "*") for source in sources)


def _is_folder(place: str) -> bool:
    return place.endswith(("/", "/.")) or place == "."


def _stages(text: str) -> Iterator[list[tuple[str, str]]]:
    """The instructions of each stage, without its FROM."""
    joined = re.sub(r"\\[ \t]*\n(?:[ \t]*#[^\n]*\n)*", " ", text)
    stage: list[tuple[str, str]] | None = None
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        if word.upper() == "FROM":
            if stage is not None:
                yield stage
            stage = []
        elif stage is not None:
            stage.append((word.upper(), rest.strip()))
    if stage is not None:
        yield stage
