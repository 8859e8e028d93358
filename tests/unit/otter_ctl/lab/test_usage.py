"""`otterctl lab up`: what is wrong usage, whatever is up."""

from __future__ import annotations

import pytest

from otter_ctl.__main__ import run


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
