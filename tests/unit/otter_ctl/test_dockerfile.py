"""Where a Dockerfile puts its folder, where that can be told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_ctl.planning.dockerfile import Placed, read

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("FROM a\nCOPY . /app\n", "/app"),
        ("FROM a\nCOPY . /app/\nCMD x", "/app"),
        ("FROM a\nWORKDIR /srv\nCOPY ./ .\n", "/srv"),
        ("FROM a\nWORKDIR /srv\nWORKDIR code\nCOPY . here/\n", "/srv/code/here"),
        ('FROM a\nCOPY [".", "/app dir/"]\n', "/app dir"),
        ("FROM a\nCOPY --chown=1:1 --chmod=755 . /app\n", "/app"),
        ("FROM a\nCOPY one.py two.py /app/\n", "/app"),
        ("FROM a\nCOPY one.py /app/\nCOPY two.py /app/\n", "/app"),
        ("# x\nFROM a AS b\nRUN make\nFROM b\nCOPY --from=b /x /y\nCOPY . /app\n", "/app"),
        ("FROM a\nRUN pip install x\ncopy \\\n  . \\\n # why\n  /app\nENV A=b\n", "/app"),
        # What can't be told, or would hide what was made:
        ("", None),
        ("FROM a\n", None),
        ("FROM a\nCOPY . /app\nRUN make\n", None),
        ("FROM a\nCOPY . /app\nADD x.tar /app\n", None),
        ("FROM a\nCOPY . /app\nCOPY x /etc/\n", None),
        ("FROM a\nCOPY src /app\n", None),
        ("FROM a\nCOPY one.py /app/other.py\n", None),
        ("FROM a\nCOPY sub/one.py /app/\n", None),
        ("FROM a\nCOPY . /\n", None),
        ("FROM a\nCOPY . $HOME/app\n", None),
        ("FROM a AS b\nCOPY . /src\nRUN make\nFROM c\nCOPY --from=b /src/x /x\n", None),
        ("FROM a AS b\nCOPY . /src\nFROM c\nCOPY . /app\n", None),
        ("FROM a\nCOPY <<EOF /app/\nx\nEOF\n", None),
    ],
)
def test_target(text, target):
    assert read(text).target == target


def test_files_of_other_stages_take_a_build():
    text = "FROM a AS m\nCOPY prepare.py ./convert.py /p/\nFROM a\nCOPY module.py /app/\n"
    assert read(text) == Placed("/app", frozenset({"prepare.py", "convert.py"}))


@pytest.mark.parametrize("file", sorted(ROOT.glob("modules/*/Dockerfile")), ids=str)
def test_the_shipped_modules_can_be_shown(file):
    assert read(file.read_text()).target == "/opt/otter/module"


@pytest.mark.slow
@given(st.text('FROMCPY. /[]"\\\n-=$<abADRUN', max_size=80))
def test_any_text_is_read(text):
    placed = read(text)
    assert placed.target is None or placed.target.startswith("/")
