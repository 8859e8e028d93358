"""Texts of others (keys, paths, values) for a terminal: nothing in them that it obeys. Pure."""

from __future__ import annotations


def printable(text: str, limit: int = 200) -> str:
    """The text with escapes for what can't be seen, cut off after `limit` characters."""
    cut = text if len(text) <= limit else text[:limit]
    shown = cut if cut.isprintable() else "".join(map(_seen, cut))
    return shown if cut is text else f"{shown}…"


def _seen(char: str) -> str:
    return char if char.isprintable() else repr(char)[1:-1]


def printable_lines(text: str) -> str:
    """The same for a text of several lines, uncut."""
    return "\n".join(printable(line, len(line)) for line in text.split("\n"))
