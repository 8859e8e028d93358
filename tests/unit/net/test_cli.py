"""The words of `python -m net`, and how it shows values."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from net.cli import main, shown


def parsed(*words):
    return main.parser().parse_args(words)


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        parsed(*words)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_quantities_have_units_or_are_ping_8s():
    asked = parsed("ping", "edge:9000", "-i", "0.2", "-W", "500ms", "-s", "4KiB")
    assert (asked.target, asked.interval, asked.wait, asked.size) == (
        ("edge", 9000),
        0.2,
        0.5,
        4096,
    )
    assert parsed("bench", "edge:9000", "--sizes", "64,1MiB").sizes == [64, 1 << 20]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["ping", "edge"], "'edge' is not HOST:PORT, such as edge:9000"),
        (["ping", "edge:0"], "nobody listens at port 0"),
        (["ping", "edge:65536"], "'65536' is not a port (0 to 65535)"),
        (["ping", "edge:9000", "-c", "0"], "'0' is not a count"),
        (["ping", "edge:9000", "-i", "nan"], "'nan' is not a time"),
        (["ping", "edge:9000", "-i", "-1"], "'-1' is not a time"),
        (["ping", "edge:9000", "-s", "4k"], "did you mean 'KiB'?"),
        (["send", "edge:9000", "--text", "a", "--array", "3"], "not allowed with"),
        (["recv"], "required: --port"),
        ([], "required: send|recv|ping|bench"),
    ],
)
def test_wrong_usage_says_what_is_right(capsys, words, why):
    assert why in refused(capsys, *words)


@pytest.mark.parametrize("verb", ["", "send", "recv", "ping", "bench"])
def test_help_has_examples(capsys, verb):
    with pytest.raises(SystemExit) as stopped:
        parsed(*[verb] * bool(verb), "--help")
    assert stopped.value.code == 0
    assert f"\n  python -m net {verb}" in capsys.readouterr().out


@pytest.mark.slow
def test_help_needs_no_numpy():
    code = "import sys, net.cli.main as m; m.parser(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_values_are_safe_for_a_terminal():
    assert shown.short("\x1b[2Jhi") == "'\\x1b[2Jhi'"
    assert len(shown.short("x" * 1000)) == shown.WIDTH
    assert shown.short(np.zeros((2, 3), "<f4")) == "array float32 [2, 3]"
    assert shown.short(b"abc") == "3 bytes"


def test_json_has_arrays_by_their_form():
    value = {"image": np.zeros((2, 3), "u1"), "raw": b"ab", "n": np.float32(0.5), "s": "t"}
    assert json.loads(shown.as_json(value)) == {
        "image": {"dtype": "|u1", "shape": [2, 3]}, "raw": {"bytes": 2}, "n": 0.5, "s": "t",
    }  # fmt: skip


def test_the_spread_of_samples():
    spread = shown.spread([float(n) for n in range(1, 101)])
    assert spread == {"min_s": 1.0, "median_s": 50.5, "p99_s": 99.0, "max_s": 100.0}
    assert shown.spread([3.0])["p99_s"] == 3.0
