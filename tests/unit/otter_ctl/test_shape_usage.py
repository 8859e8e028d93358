"""`otterctl shape`: what is wrong usage, whatever runs."""

from __future__ import annotations

import pytest

from otter_ctl.__main__ import run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["host", "a", "--cpu", "nan"], "--cpu nan: cores, such as 0.5, or none"),
        (["module", "a", "--cpu", "inf"], "--cpu inf: cores, such as 0.5, or none"),
        (["module", "a", "--cpu", "50%"], "--cpu 50%: cores, such as 0.5, or none"),
        (["host", "a", "--cpu", "0"], "--cpu 0: cores, such as 0.5, or none"),
        (["host", "a", "--cpu", "-1"], "--cpu -1: cores, such as 0.5, or none"),
        (["module", "a", "--memory", "0"], "--memory 0: more than nothing, such as 512MiB"),
        (["module", "a", "--memory", "5MB/s"], "--memory: "),
        (["module", "a", "--gpu-share", "none"], "--gpu-share none: a part such as 75%"),
        (["module", "a", "--cpu", "1", "--for", "0s"], "--for 0s: more than no time, such as"),
        (["link", "a", "--delay", "1ms", "--for", "0s"], "--for 0s: more than no time, such as"),
        (["host", "a"], "say what to change: --cpu, --memory, --read, …"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, said, capsys, tmp_path):
    assert run(["--root", str(tmp_path), "shape", *arguments]) == 2
    assert said in capsys.readouterr().err
