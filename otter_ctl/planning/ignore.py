"""`.dockerignore`: what of a build folder isn't sent, as Docker understands it. Pure.

Patterns are relative to the folder; `*` and `?` stay within one name, `**` spans any number of
folders; what lies below an ignored folder is ignored too; `!` takes back; the last match wins.
Must not know: the file system.

Source: the reference of Dockerfiles, "dockerignore files"; moby's patternmatcher.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

FILE = ".dockerignore"
ALWAYS = frozenset({FILE, "Dockerfile", "requirements.txt", "requirements-prepare.txt"})
"""What says how to build is read before there is a build, so it is sent whatever is ignored."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """The patterns of one file, in order.

    Attributes:
        patterns: Whether a match is taken back, and what matches a path or a folder above it.
    """

    patterns: tuple[tuple[bool, re.Pattern[str]], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Ignored:
        """Read the file's content. A pattern that can't be one matches its own letters."""
        patterns = []
        for line in text.removeprefix("\ufeff").splitlines():
            word = line.strip()
            if not word or word.startswith("#"):
                continue
            back = word.startswith("!")
            cleaned = posixpath.normpath(word[back:].strip()).lstrip("/")
            if cleaned not in ("", "."):
                patterns.append((back, re.compile(f"(?:{_regex(cleaned)})(?:/.*)?", re.DOTALL)))
        return cls(tuple(patterns))

    @property
    def takes_back(self) -> bool:
        """Whether something below an ignored folder may be sent all the same."""
        return any(back for back, _ in self.patterns)

    def __call__(self, name: str) -> bool:
        """Whether the file or folder at this path isn't sent."""
        if name in ALWAYS:
            return False
        for back, pattern in reversed(self.patterns):
            if pattern.fullmatch(name):
                return not back
        return False


_PIECE = re.compile(r"\*\*/?|\*|\?|\[\^?[^\]]+\]|\\.|.", re.DOTALL)


def _regex(pattern: str) -> str:
    return "".join(_part(piece) for piece in _PIECE.findall(pattern))


def _part(piece: str) -> str:
    """A piece of a pattern as a regular expression."""
    if piece == "**/":
        return "(?:.*/)?"
    if piece == "**":
        return ".*"
    if piece in "*?":
        return f"[^/]{piece if piece == '*' else ''}"
    if piece[0] == "[" and len(piece) > 1:
        inside = piece[1:-1]
        start = "^/" if inside.startswith("^") else ""
        body = inside.removeprefix("^")
        return f"[{start}{_class(body)}]" if _is_class(f"[{_class(body)}]") else re.escape(piece)
    return re.escape(piece[1:] if len(piece) == 2 else piece)


def _class(body: str) -> str:
    return body.replace("\\", "\\\\").replace("[", "\\[")


def _is_class(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True
