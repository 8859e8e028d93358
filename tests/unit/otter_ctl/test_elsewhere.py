"""Who comes from another tool is told what its words are here."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path

import click
import pytest

from otter_ctl.__main__ import run
from otter_ctl.cli import ELSEWHERE, VERBS, cli

TARGETS = sorted({shown for shown in ELSEWHERE.values() if not shown.startswith("--")})


@pytest.mark.parametrize("shown", TARGETS)
def test_what_is_named_instead_is_there(shown: str) -> None:
    """Each is a verb, of which the options and verbs below it are."""
    verb, *words = shlex.split(shown)
    assert verb in VERBS
    command = importlib.import_module(f"otter_ctl.cli.{verb}").command
    if isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    options = {name for param in command.params for name in param.opts}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word in options, word


def test_no_verb_of_ours_is_taken_for_another_tools() -> None:
    assert ELSEWHERE.keys().isdisjoint(VERBS)
    assert "--version" in {name for param in cli.params for name in param.opts}


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("up", "here it is: otterctl apply FILE"),
        ("netem", "here it is: otterctl shape link NAME --delay 50ms"),
        ("aply", "did you mean 'apply'?"),
        ("xyzzy", "no verb 'xyzzy' (otterctl --help lists them)"),
    ],
)
def test_a_word_of_another_tool_is_translated(
    word: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([word]) == 2
    assert hint in capsys.readouterr().err


def test_a_dry_run_of_apply_is_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is read, so nothing is done either."""
    assert run(["apply", "--dry-run", str(tmp_path / "none.toml")]) == 2
    assert "otterctl plan FILE shows what would change" in capsys.readouterr().err
