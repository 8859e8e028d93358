"""A file's bytes -> TOML tables, or the one problem that keeps them from being read.

Must not know: which keys there are.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from net.opening import READ_AT_ONCE
from otter_ctl.errors import TopologyError, TopologyErrors

SIZE_LIMIT = 4 << 20
"""Bytes. 10,000 hosts with links take about 1 MiB; more is not a topology but a mistake."""

_PLACE = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_TWICE = re.compile(r"Cannot (?:declare|mutate immutable namespace) (\(.*\))(?: twice)?\Z")
_UNQUOTED = re.compile(r"=\s*([0-9][0-9_.]*\s*[A-Za-zµ%]+)\s*(?:#.*)?\Z")
KEY_LIMIT = 16
"""Dots of a key. Tomllib takes quadratic time for them: minutes for a line of 100 kB."""
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_LONG_KEY = re.compile(rf"(?:^|[{{,\[])[ \t]*(?:{_PART}){{{KEY_LIMIT}}}", re.MULTILINE)
_LONG_INTEGER = re.compile(r"[0-9_]{4000}")


def read(path: Path) -> str:
    """The text of the file, without byte order mark.

    Raises:
        TopologyErrors: It can't be read, is no regular file, is too large or isn't UTF-8.
    """
    try:
        data = _bytes(path)
    except (OSError, ValueError) as exc:  # ValueError: a NUL, no regular file
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise _failure(path, 1, 1, f"can't be read: {reason}") from exc
    if len(data) > SIZE_LIMIT:
        raise _failure(path, 1, 1, f"is larger than {SIZE_LIMIT >> 20} MiB")
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as exc:
        before = data[: exc.start]
        column = len(before.rpartition(b"\n")[2].decode(errors="replace")) + 1
        reason = f"isn't UTF-8: byte 0x{data[exc.start]:02x}"
        raise _failure(path, before.count(b"\n") + 1, column, reason) from exc


def _bytes(path: Path) -> bytes:
    """At most one byte more than allowed; a pipe or terminal might never give or end."""
    descriptor = os.open(path, READ_AT_ONCE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it isn't a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(SIZE_LIMIT + 1)
    finally:
        os.close(descriptor)


def parse(path: Path, text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        TopologyErrors: It isn't TOML; names the line.
    """
    start = long_key(text)
    if start is not None:
        line = text.count("\n", 0, start) + 1
        raise _failure(path, line, 1, f"a key has over {KEY_LIMIT} dots")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _syntax(path, text, str(exc)) from exc
    except RecursionError as exc:
        raise _failure(path, 1, 1, "is nested too deeply") from exc
    except ValueError as exc:  # an integer of over 4,300 digits
        match = _LONG_INTEGER.search(text)
        line = text.count("\n", 0, match.start()) + 1 if match else 1
        raise _failure(path, line, 1, "not valid TOML: a number is too long") from exc


def long_key(text: str) -> int | None:
    """Where a key of too many dots stands; None: there is none."""
    found = _LONG_KEY.search(text)
    return None if found is None else found.start()


def _syntax(path: Path, text: str, message: str) -> TopologyErrors:
    """Tomllib's message with its place taken out, and a hint for the commonest slip."""
    place = _PLACE.search(message)
    reason = message[: place.start()] if place else message
    lines = text.split("\n")
    if place and place[1]:
        line, column = int(place[1]), int(place[2])
    else:
        line, column = max(1, len(text.rstrip().split("\n"))), 1
    twice = _TWICE.match(reason)
    if twice:
        reason = f"declared twice: {_dotted(twice[1])}"
    elif reason == "Cannot overwrite a value":
        reason = "a key is given twice"
    written = _UNQUOTED.search(lines[line - 1].rstrip()) if line <= len(lines) else None
    hint = f'write "{written[1][:40]}" in quotes' if written else ""
    return _failure(path, line, column, f"not valid TOML: {_clean(reason)}", hint)


def _dotted(keys: str) -> str:
    """`('hosts', 'phone')` -> `hosts.phone`."""
    return ".".join(re.findall(r"'((?:[^'\\]|\\.)*)'", keys))


def _clean(text: str) -> str:
    """One printable line of bounded length: parts of the file stand in it."""
    shown = "".join(c if c.isprintable() else "�" for c in text)
    return shown if len(shown) <= 160 else shown[:157] + "…"


def _failure(path: Path, line: int, column: int, reason: str, hint: str = "") -> TopologyErrors:
    return TopologyErrors([TopologyError(str(path), line, column, "", reason, hint)])
