"""The types that controller and agent send each other, and the version that names them.

Both refuse fields that they don't know, so each change of a type divides them: API_VERSION tells
people so before anything else does. What they were with it stands in api_types.txt.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from otter_agent import api
from otter_agent.budgets.subjects import fields_of

WRITTEN = Path(__file__).with_name("api_types.txt")
ANEW = "python tests/unit/otter_agent/test_api_types.py"


def said(kind: object) -> str:
    """A type in words that are the same with every Python."""
    inside = typing.get_args(kind)
    match origin := typing.get_origin(kind):
        case None if kind is type(None):
            return "None"
        case None:
            return "..." if kind is ... else getattr(kind, "__name__", str(kind))
        case typing.Literal:
            return f"({' '.join(map(str, inside))})"
        case typing.Union | types.UnionType:
            return " | ".join(map(said, inside))
    return f"{origin.__name__}[{', '.join(map(said, inside))}]"


def fields(kind: type) -> dict[str, object]:
    """Field as it is sent, with a ? where it may be left out -> its type; none of other types."""
    if issubclass(kind, msgspec.Struct):
        of = msgspec.structs.fields(kind)
        there = {one.name: one.encode_name + "?" * (not one.required) for one in of}
    elif dataclasses.is_dataclass(kind):
        there = {one.name: one.name + "?" for one in dataclasses.fields(kind)}
    else:
        return {}
    hints = typing.get_type_hints(kind)
    return {shown: hints[name] for name, shown in there.items()}


def classes(kind: object) -> Iterator[type]:
    """All that a type is made of."""
    if isinstance(kind, type):
        yield kind
    for inside in typing.get_args(kind):
        yield from classes(inside)


def now() -> dict[str, str]:
    """Each type that is sent, those of other packages within them, too -> its fields."""
    left = [kind for name in api.__all__ for kind in classes(getattr(api, name))]
    found: dict[str, str] = {}
    while left:
        kind = left.pop()
        if kind.__name__ in found or not (there := fields(kind)):
            continue
        found[kind.__name__] = ", ".join(f"{name} {said(of)}" for name, of in there.items())
        left.extend(one for of in there.values() for one in classes(of))
    return dict(sorted(found.items()))


def then() -> tuple[int, dict[str, str]]:
    """The version that was written down, and the types that it had."""
    first, *lines = WRITTEN.read_text().splitlines()
    return int(first.split(" = ")[1]), dict(line.split(": ", 1) for line in lines)


def trouble() -> str:
    """Why what is written isn't what is sent, and what to do; "" if it is."""
    version, before = then()
    if (version, before) == (api.API_VERSION, after := now()):
        return ""
    if version != api.API_VERSION:
        return f"{WRITTEN.name} is of version {version}: {ANEW}"
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return "\n".join(
        [
            f"types of the API changed: raise API_VERSION in otter_agent/api/base.py, then: {ANEW}",
            *(f"{n}:\n  was {before.get(n)}\n  is  {after.get(n)}" for n in changed),
        ]
    )


def test_types_change_with_the_version_alone() -> None:
    if why := trouble():
        pytest.fail(why, pytrace=False)


@pytest.mark.slow
def test_a_change_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / WRITTEN.name
    copy.write_text(WRITTEN.read_text().replace("File: target str", "File: target? int"))
    monkeypatch.setitem(globals(), "WRITTEN", copy)
    assert "raise API_VERSION" in trouble()
    assert "File:\n  was target? int, " in trouble()
    monkeypatch.setattr(api, "API_VERSION", api.API_VERSION + 1)
    assert trouble().endswith(ANEW)


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        ("host", api.HostSpec(name="h", address="10.0.0.1", block="10.0.0.0/24")),
        ("module", api.ModuleSpec(name="m", host="h", address="10.0.0.2", runtime="fake")),
    ],
)
def test_all_that_can_be_asked_is_asked(kind: typing.Any, item: typing.Any) -> None:
    """Of a host, a module and a budget the same fields, with the same types, and handed over."""
    here, there = (typing.get_type_hints(of) for of in (type(item), api.Budget))
    for number, name in enumerate(fields_of(kind), 1):
        assert here[name] == there[name], name
        asked = api.asked_of(msgspec.structs.replace(item, **{name: number}))
        assert asked == api.Budget(**{name: number})


if __name__ == "__main__":
    if WRITTEN.exists() and then()[0] == api.API_VERSION and (problem := trouble()):
        sys.exit(f"{problem}\n(or, where nobody has that version yet: rm {WRITTEN.name} first)")
    text = "".join(f"{name}: {what}\n" for name, what in now().items())
    WRITTEN.write_text(f"API_VERSION = {api.API_VERSION}\n{text}")
