"""The project's own rules that no other tool checks: sizes, tasks, the wheel, the docs."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"modules", "net", "otter_agent", "otter_ctl"}
MAX_BYTES = 1 << 20
MAX_LINES = 500
DATA = {".csv", ".json", ".ndjson"}
GENERATED = Path("docs/reference")
TASK_MAKERS = {"create_task", "ensure_future", "gather"}


def files_of_the_project() -> list[Path]:
    """What git tracks or would track, relative to the root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    paths = map(Path, sorted(filter(None, done.stdout.split("\0"))))
    return [path for path in paths if (ROOT / path).is_file()]


FILES = files_of_the_project()
PYTHON = [path for path in FILES if path.suffix == ".py"]


def text_of_docs() -> str:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return "\n".join(page.read_text() for page in pages)


# --- sizes -----------------------------------------------------------------------------------


def test_no_file_is_large() -> None:
    sizes = {str(path): (ROOT / path).stat().st_size for path in FILES}
    assert {path: size for path, size in sizes.items() if size > MAX_BYTES} == {}


@pytest.mark.slow
def test_no_file_is_long() -> None:
    lines = {}
    for path in FILES:
        content = (ROOT / path).read_bytes()
        written = path.suffix not in DATA and not path.is_relative_to(GENERATED)
        if written and b"\0" not in content:
            lines[str(path)] = content.count(b"\n")
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


# --- tasks -----------------------------------------------------------------------------------


def loose_tasks(source: str) -> Iterator[int]:
    """Lines where a task is made that no TaskGroup owns."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "asyncio":
            if TASK_MAKERS & {alias.name for alias in node.names}:
                yield node.lineno
        elif isinstance(node, ast.Attribute) and node.attr in TASK_MAKERS:
            owner = ast.unparse(node.value)
            if owner == "asyncio" or owner.endswith(("loop", "loop()")):
                yield node.lineno


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("asyncio.create_task(f())", True),
        ("from asyncio import gather", True),
        ("asyncio.get_running_loop().create_task(f())", True),
        ("self._loop.create_task(f())", True),
        ("group.create_task(f())", False),
        ("'asyncio.create_task'", False),
    ],
)
def test_loose_tasks_are_found(source: str, found: bool) -> None:
    assert bool(list(loose_tasks(source))) is found


@pytest.mark.slow
def test_every_task_belongs_to_a_group() -> None:
    found = [f"{path}:{line}" for path in PYTHON for line in loose_tasks((ROOT / path).read_text())]
    assert found == []


# --- tests -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_tests_start_hears_ctrl_c() -> None:
    show = "import signal; print(signal.getsignal(signal.SIGINT) is not signal.SIG_IGN)"
    done = subprocess.run([sys.executable, "-c", show], stdout=subprocess.PIPE, check=True)
    assert done.stdout == b"True\n"


@pytest.mark.slow
def test_also_where_the_tests_run_in_a_shells_background() -> None:
    test = f"{__file__}::{test_what_tests_start_hears_ctrl_c.__name__}"
    ignore = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    run = f"{ignore}os.execv(sys.executable, [sys.executable, '-m', 'pytest', '-q', {test!r}])"
    done = subprocess.run([sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# --- docs ------------------------------------------------------------------------------------


def test_every_verb_is_documented() -> None:
    import click

    from otter_ctl.cli import cli

    docs = text_of_docs()
    verbs = cli.list_commands(click.Context(cli))
    assert verbs
    assert [verb for verb in verbs if not re.search(rf"(`|otterctl ){verb}\b", docs)] == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page}: {target}"
        for page in FILES
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
        if not (ROOT / page.parent / target).exists()
    ]
    assert broken == []


def test_links_into_pages_lead_to_a_heading() -> None:
    broken = []
    for page in (page for page in FILES if page.suffix == ".md"):
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", (ROOT / page).read_text()):
            there = ROOT / page.parent / target if target else ROOT / page
            if there.suffix == ".md" and anchor not in headings(there):
                broken.append(f"{page}: {target}#{anchor}")
    assert broken == []


@functools.cache
def headings(page: Path) -> frozenset[str]:
    """As GitHub names them in addresses."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    words = (re.sub(r"\]\([^)]*\)|[^\w\- ]", "", one.lower()) for one in found)
    return frozenset(one.strip().replace(" ", "-") for one in words)


def test_the_changelog_knows_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(rf"^## \[({re.escape(version)}|Unreleased)\]", changelog(), re.MULTILINE)


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text()


def test_make_has_the_promised_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("setup", "check", "demo", "test", "test-kernel", "bench"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


# --- the wheel -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the project's files, built in a folder of its own."""
    folder = tmp_path_factory.mktemp("wheel")
    for path in FILES:
        copy = folder / "src" / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / path).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), "src"]
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout, done.stdout
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_four_packages_whole(wheel: Path) -> None:
    """Every file of theirs, so that no Dockerfile, unit file or template is left behind."""
    inside = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    built = {path for path in inside if path.match("net/_short*.so")}  # with a compiler
    packed = {path for path in inside - built if not path.parts[0].endswith(".dist-info")}
    assert packed == {path for path in FILES if path.parts[0] in PACKAGES}
    assert {path.parts[0] for path in packed} == PACKAGES


@pytest.mark.slow
def test_the_wheel_imports_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", str(tmp_path), str(wheel)], check=True)
    show = f"import {', '.join(sorted(PACKAGES))}; print(*[p.__file__ for p in (net, otter_agent)])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", show],
        cwd="/",
        env={"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    places = [Path(place) for place in done.stdout.split()]
    assert all(place.is_relative_to(tmp_path) for place in places)
