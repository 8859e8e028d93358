"""`otterctl lab up`: what is wrong usage, whatever is up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from otter_ctl.__main__ import run
from otter_ctl.lab.folder import Folder, Kept, Memory


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["501"], "501 machines: at most 500"),
        (["1", "--management", "rate=5"], "--management: rate: '5' is not a rate"),
        (["1", "--management", "rat=5mbit"], "--management: 'rat=5mbit' is no property; such as"),
        (["1", "--management", "jitter=5ms"], "--management: jitter must not be above the delay"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, said, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OTTER_LAB", str(tmp_path / "lab"))
    assert run(["lab", "up", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()


@pytest.mark.parametrize("words", [("ls",), ("up", "1"), ("off", "lab1"), ("down",)])
def test_who_isnt_root_is_told_what_sudo_finds(words, capsys, monkeypatch, tmp_path):
    """Its folders are root's: `ls` would take all machines for switched off."""
    monkeypatch.setenv("OTTER_LAB", str(tmp_path))
    Folder(tmp_path).write(Memory("abc", "198.18.0.0/24", "198.18.1.0/24", [], [Kept(1)]))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(["lab", *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "needs root" in said.err
    assert f"sudo {Path(sys.prefix, 'bin', 'otterctl')} lab …" in said.err
