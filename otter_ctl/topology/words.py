"""`${address:edge}` in commands and variables: what a program needs that can't look names up. Pure.

    ${address:NAME}                          address of a module or host
    ${self:name} ${self:host} ${self:address}   of the module itself, also where there are many

Nothing else is touched: `${HOME}` stays for the shell. Must not know: how addresses are given out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set

from otter_ctl.topology.reader import Fields, did_you_mean, shown
from otter_ctl.topology.reader import Path as KeyPath

_WORD = re.compile(r"\$\{(address|self):([^{}]*)\}")
_SELF = ("name", "host", "address")


def fill(text: str, addresses: Mapping[str, str], own: Mapping[str, str]) -> str:
    """The text with its words replaced.

    Args:
        text: A word of a command, or a variable's value.
        addresses: Of every module and host.
        own: `name`, `host` and `address` of the module whose text it is.
    """
    if "${" not in text:
        return text
    return _WORD.sub(lambda m: (own if m[1] == "self" else addresses)[m[2]], text)


def check_words(fields: Fields, known: Set[str]) -> None:
    """Report words that name nothing.

    Args:
        fields: A module, or the modules' defaults, as written.
        known: Names of all modules and hosts.
    """
    for key, text in _texts(fields):
        for kind, name in _WORD.findall(text):
            place = fields.place.child(*key)
            if kind == "self" and name not in _SELF:
                hint = f"known are {', '.join(_SELF)}"
                place.report(f"a module has no {shown(name)} of itself", hint)
            elif kind == "address" and name not in known:
                hint = did_you_mean(name, known, place)
                place.report(f"no module or host {shown(name)} to have an address{hint}")


def _texts(fields: Fields) -> Iterator[tuple[KeyPath, str]]:
    """Everything that may hold words, with its key."""
    yield from ((("command",), word) for word in fields.get("command") or ())
    yield from ((("env", name), value) for name, value in fields.get("env", {}).items())
    ready = fields.get("ready")
    if ready is not None:
        yield from ((("ready", "command"), word) for word in ready.get("command") or ())
