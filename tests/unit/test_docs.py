"""What `make docs` makes from the code: the reference of keys and verbs, the pictures."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from otter_ctl.cli import cli
from otter_ctl.topology.keys import TOPOLOGY
from otter_ctl.topology.reader import INVALID, Place, Table
from otter_ctl.topology.schema import tables_of

ROOT = Path(__file__).parents[2]
EXAMPLES = tomllib.loads((ROOT / "docs" / "reference" / "examples.toml").read_text())
MAX_PICTURE_BYTES = 60_000
PAGES = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("topologies/**/*.md")]


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "docs" / "generate.py", *arguments],
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip


@pytest.mark.slow
def test_what_is_made_from_the_code_is_current():
    done = generate(ROOT, "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_examples_may_be_pasted_into_a_shell():
    """`>` outside quotes would write into a file of a host's name."""
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "docs/reference/commands.md"]
    lines = [x.strip() for page in pages for x in page.read_text().splitlines()]
    commands = [x for x in lines if x.startswith("otterctl ")]
    assert len(commands) > 100
    bare = [re.sub(r"'[^']*'|#.*", "", x) for x in commands]
    assert [x for x in bare if re.search(r"\w>\w", x)] == []


def blocks(page: Path, languages: str) -> list[str]:
    pattern = rf"^```(?:{languages})\b[^\n]*\n(.*?)^```"
    return re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_topologies_are_toml(page):
    for block in blocks(page, "toml"):
        tomllib.loads(block)


def commands(page: Path) -> Iterator[list[str]]:
    for line in "\n".join(blocks(page, "sh|console|powershell")).splitlines():
        for part in re.split(r"&&|\|", line.partition(" #")[0]):
            if found := re.match(r"(?:\$ |sudo )*(?:\S*/)?otterctl (.+)", part.strip()):
                yield found[1].split(" -- ")[0].split()


def options(command: click.Command) -> set[str]:
    found = [p for p in command.params if isinstance(p, click.Option)]
    return {name for p in found for name in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_name_verbs_and_options_that_there_are(page):
    for words in commands(page):
        command, rest, context = cli, words, click.Context(cli)
        while isinstance(command, click.Group):
            while rest[0] in options(command):  # those before the verb have a value each
                rest = rest[2:]
            command, rest = command.get_command(context, rest[0]), rest[1:]
            assert command is not None, words
        named = {word.partition("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)}
        several = {word for word in named if re.fullmatch(r"-[a-zA-Z]{2,}", word)}
        assert named - several <= options(command), words


@pytest.mark.slow
def test_what_is_stale_is_named_and_mended(tmp_path):
    for folder in ("docs", "topologies", "modules", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    page = tmp_path / "docs" / "reference" / "topology.md"
    page.write_text(page.read_text().replace("One-way delay.", "Delay."))
    (tmp_path / "docs" / "pictures" / "hello.svg").unlink()
    done = generate(tmp_path, "--check")
    assert done.returncode == 1
    said = done.stdout.splitlines()
    assert "stale: docs/pictures/hello.svg" in said
    assert "stale: docs/reference/topology.md" in said
    assert said[-1] == "run make docs"
    assert generate(tmp_path).returncode == 0
    assert generate(tmp_path, "--check").returncode == 0


def tables(table: Table, seen: dict[str, Table]) -> Iterator[Table]:
    if table.title not in seen:
        seen[table.title] = table
        yield table
        for key in table.keys.values():
            for inner in tables_of(key.kind.schema):
                yield from tables(inner, seen)


def shows_examples(table: Table) -> bool:
    return "." not in table.title and table.title not in ("reverse", "set")


@pytest.mark.parametrize(
    "table", [*filter(shows_examples, tables(TOPOLOGY, {}))], ids=lambda table: table.title
)
def test_every_example_is_read_by_its_key(table):
    wrong = {}
    for key in filter(lambda key: key.built, table.keys.values()):
        problems: list = []
        read = Place(problems).read(key.kind, EXAMPLES[table.title][key.name])
        if read is INVALID or problems:
            wrong[key.name] = problems
    assert wrong == {}


def test_pictures_are_small_and_shown():
    pages = "".join(
        page.read_text() for page in [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    )  # fmt: skip
    pictures = sorted((ROOT / "docs" / "pictures").glob("*.svg"))
    drawn = {"tutorial"} | {
        p.stem for p in [*ROOT.glob("topologies/*.toml"), *ROOT.glob("docs/pictures/*.toml")]
    }
    assert {picture.stem for picture in pictures} == drawn
    assert [p.name for p in pictures if p.stat().st_size > MAX_PICTURE_BYTES] == []
    assert "pictures/use-case-1.svg" in pages
    assert "pictures/city.svg" in pages
