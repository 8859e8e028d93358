"""The controller where it isn't Linux: nothing of Unix alone is on its path."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from net import tars, tars_by_path
from otter_ctl.cli import VERBS, cli
from otter_ctl.sites import settings

ROOT = Path(__file__).parents[3]
AS_WINDOWS = ROOT / "tests" / "helpers" / "as_windows.py"
CONTROLLER = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "otter_ctl").rglob("*.py")
    if "templates" not in path.parts
)


def as_windows(*words: object, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python with all gone that is Unix's alone."""
    return subprocess.run(
        [sys.executable, str(AS_WINDOWS), *map(str, words)],
        capture_output=True, text=True, check=False, cwd=folder, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), "APPDATA": str(folder), "NO_COLOR": "1"},
    )  # fmt: skip


def module_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.slow
def test_every_module_of_the_controller_is_imported():
    names = [module_of(path) for path in CONTROLLER if path.name != "__main__.py"]
    assert len(names) > 150
    done = as_windows("import", "otter_ctl.__main__", *names)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcntl", "pwd", "termios"])
def test_the_stage_has_no_unix(name):
    """Else the tests here would prove nothing."""
    done = as_windows("import", name)
    assert f"No module named '{name}'" in done.stderr


@pytest.mark.slow
def test_help_and_the_verbs_that_contact_nobody():
    assert "Emulate an edge network" in as_windows("otterctl", "--help").stdout
    topologies = sorted((ROOT / "topologies").glob("*.toml"))
    done = as_windows("otterctl", "validate", *topologies)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": ok (") == len(topologies)
    drawn = as_windows("otterctl", "graph", ROOT / "topologies" / "heard.toml", "--format", "svg")
    assert drawn.stdout.startswith("<svg"), drawn.stderr
    assert '"$schema"' in as_windows("otterctl", "schema").stdout


@pytest.mark.slow
def test_a_project_is_made_and_planned(tmp_path):
    made = as_windows("otterctl", "init", "first", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    planned = as_windows("otterctl", "plan", "topology.toml", folder=tmp_path / "first")
    assert planned.returncode == 0, planned.stderr
    assert "to create" in planned.stdout
    assert "agents run on Linux, this is Windows" in planned.stderr
    assert "WSL2" in planned.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb",
    [["apply", "t.toml"], ["status"], ["lab", "up", "3"], ["volume", "ls"]],
    ids=lambda verb: verb[0],
)
def test_what_needs_an_agent_on_this_system_names_wsl2(tmp_path, verb):
    (tmp_path / "t.toml").write_text('name = "t"\n[hosts.a]\n')
    done = as_windows("otterctl", *verb, folder=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Linux" in done.stderr
    assert "WSL2" in done.stderr


@pytest.mark.slow
def test_a_doctor_finds_a_controller_in_good_health(tmp_path):
    done = as_windows("otterctl", "doctor", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "agents run on Linux, this is Windows" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_help(verb, everything_helps):
    assert f"Usage: otterctl {verb}" in everything_helps


@pytest.fixture(scope="module")
def everything_helps():
    """All helps, of one process."""
    code = (
        "import runpy, sys; sys.path.insert(0, 'tests/helpers'); import as_windows;"
        "as_windows.pretend(); from otter_ctl.__main__ import run\n"
        f"for verb in {list(VERBS)}: run([verb, '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


@pytest.mark.slow
def test_output_that_a_code_page_lacks_is_no_error(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "cp437"}
    command = [sys.executable, "-m", "otter_ctl", "validate", str(tmp_path / "Ω≠.toml")]
    done = subprocess.run(command, capture_output=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"can't be read" in done.stderr


# --- what differs -----------------------------------------------------------------------------


def test_settings_lie_where_each_system_has_them():
    home = Path("/home/anna")
    assert settings("linux", {}, home) == home / ".config"
    assert settings("linux", {"XDG_CONFIG_HOME": "/x"}, home) == Path("/x")
    assert settings("linux", {"XDG_CONFIG_HOME": "x"}, home) == home / ".config"
    assert settings("darwin", {}, home) == home / "Library" / "Application Support"
    assert settings("darwin", {"XDG_CONFIG_HOME": "/x"}, home) == Path("/x")
    assert settings("win32", {"APPDATA": "/r", "XDG_CONFIG_HOME": "/x"}, home) == Path("/r")
    assert settings("win32", {}, home) == home / "AppData" / "Roaming"


def texts_without_encoding(path: Path) -> Iterator[str]:
    """Where a text is read or written by a method of paths in the system's own encoding."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            named = {keyword.arg for keyword in node.keywords}
            places = {"read_text": 1, "write_text": 2}.get(node.func.attr)
            if places is not None and "encoding" not in named and len(node.args) < places:
                yield f"{path}:{node.lineno}"


@pytest.mark.slow
def test_texts_are_utf_8_wherever_they_are_read():
    """The lab runs on Linux alone; in `wheel.py` it is a method of distributions."""
    portable = [p for p in CONTROLLER if p.parts[1] != "lab" and p.name != "wheel.py"]
    assert [place for path in portable for place in texts_without_encoding(path)] == []


# --- folders by their paths -------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A folder with a bit of everything."""
    top = tmp_path / "top"
    (top / "deep" / "deeper").mkdir(parents=True)
    (top / "deep" / "deeper" / "file").write_bytes(b"x" * 100_000)
    (top / "empty").touch()
    (top / "link").symlink_to("deep/deeper/file")
    return tmp_path


def test_a_folder_goes_there_and_back_by_paths(tree, tmp_path):
    data = b"".join([*tars_by_path.pack(tree, "top", "top"), tars.END])
    target = tmp_path / "target"
    target.mkdir()
    done = tars_by_path.unpack(io.BytesIO(data), target, ("top", "new"))
    assert (done.failed, done.files, done.size_bytes) == ([], 3, 100_000)
    assert (target / "new" / "deep" / "deeper" / "file").read_bytes() == b"x" * 100_000
    assert (target / "new" / "link").readlink() == Path("deep/deeper/file")
    assert not list(target.rglob(".otter-*"))


def test_both_ways_make_the_same_of_a_folder(tree):
    fd = os.open(tree, os.O_RDONLY)
    try:
        assert b"".join(tars.pack(fd, "top", "t")) == b"".join(tars_by_path.pack(tree, "top", "t"))
    finally:
        os.close(fd)


def test_a_link_in_the_way_is_refused(tree, tmp_path):
    data = b"".join([*tars_by_path.pack(tree, "top", "top"), tars.END])
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    target.mkdir()
    elsewhere.mkdir()
    (target / "top").symlink_to(elsewhere)
    done = tars_by_path.unpack(io.BytesIO(data), target)
    assert {why for _, why in done.failed} == {"something that is no folder is in the way"}
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "step", ["C:", "a:b", "..\\x", "a/b", "nul", "COM1.txt", "aux .log", "end.", "end ", "\n", ""]
)
def test_names_that_mean_something_else_on_windows(step):
    assert not tars_by_path.is_plain(step, windows=True)


@pytest.mark.parametrize("step", ["a", "answer.wav", "ä b", ".hidden", "console", "com"])
def test_names_that_are_names_on_windows(step):
    assert tars_by_path.is_plain(step, windows=True)


# --- the page ---------------------------------------------------------------------------------


def commands_of_the_page() -> list[list[str]]:
    text = (ROOT / "docs" / "windows.md").read_text()
    blocks = re.findall(r"```powershell\n(.*?)```", text, re.DOTALL)
    lines = [line.partition("  #")[0].split() for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words[:1] == ["otterctl"]]


@pytest.mark.parametrize("words", commands_of_the_page(), ids=" ".join)
def test_the_page_for_windows_names_verbs_and_options_that_there_are(words):
    command, rest = cli, words
    context = click.Context(cli)
    while isinstance(command, click.Group):
        command, rest = command.get_command(context, rest[0]), rest[1:]
        assert command is not None, words
    command.make_context(words[0], rest)


def test_the_page_goes_through_the_whole_tutorial():
    tutorial = (ROOT / "docs" / "tutorial.md").read_text()
    told = {words.split()[0] for words in re.findall(r"^\$ otterctl (.+)", tutorial, re.MULTILINE)}
    assert told - {words[0] for words in commands_of_the_page()} == set()
