"""docs/coming-from.md names what there is: verbs, options, tables, keys of its right columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from otter_ctl.cli import ELSEWHERE, VERBS, cli
from otter_ctl.topology.keys import TOPOLOGY
from otter_ctl.topology.reader import Table
from otter_ctl.topology.schema import tables_of

OF_PROGRAMS = {"mn"}
"""Programs, no verbs of one."""
PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"


def named_here() -> list[str]:
    """Everything in code in the second columns, once each."""
    rows = [line.split("|")[2] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return list(dict.fromkeys(word for row in rows for word in re.findall(r"`([^`]+)`", row)))


def keys(table: Table) -> Iterator[str]:
    for key in table.keys.values():
        if key.built:
            yield key.name
            for below in tables_of(key.kind.schema):
                yield from keys(below)


KEYS = frozenset(keys(TOPOLOGY))


def options(command: click.Command) -> set[str]:
    return {name for param in command.params for name in (*param.opts, *param.secondary_opts)}


def is_command(words: list[str]) -> bool:
    """Whether there is such a verb, with these options."""
    command, context = cli, click.Context(cli)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        if found is None:
            return False
        command = found
    return {word for word in words if re.match(r"--?[a-z]", word)} <= options(command)


@pytest.mark.parametrize("word", named_here())
def test_what_it_names_is_there(word: str) -> None:
    if word.startswith("otterctl "):
        assert is_command(word.split(" -- ")[0].split()[1:])
    elif found := re.fullmatch(r"\[+(\w+)(\.NAME)?\]+", word):
        assert found[1] in TOPOLOGY.keys
    else:
        assert word in KEYS


def verbs_there() -> list[str]:
    """Commands of others that the page gives a verb of ours for: what one would type at first."""
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    told = [
        re.match(r" `(?:dora )?([a-z]+)\b[^`]*`", row[1]) for row in rows if "`otterctl" in row[2]
    ]
    return list(dict.fromkeys(one[1] for one in told if one is not None))


@pytest.mark.parametrize("word", verbs_there())
def test_their_verbs_are_known(word: str) -> None:
    assert word in VERBS or word in ELSEWHERE or word in OF_PROGRAMS


def test_all_tables_are_looked_at() -> None:
    """A cell with a pipe, or a table of three columns, would go by unseen."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert all(line.count("|") == 3 for line in lines)
    assert len(named_here()) > 50


@pytest.mark.parametrize("wrong", ["otterctl fly", "otterctl plan FILE --fly", "otterctl gpu fly"])
def test_what_is_not_there_is_seen(wrong: str) -> None:
    assert not is_command(wrong.split()[1:])
