"""`.dockerignore` means to otterctl what it means to `docker build`."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from otter_ctl.planning.ignore import Ignored
from otter_ctl.planning.uploads import context


@pytest.mark.parametrize(
    ("lines", "name", "left_out"),
    [
        ("target", "target", True),
        ("target", "target/debug/x", True),
        ("target", "src/target", False),  # patterns begin at the folder
        ("/target/", "target/x", True),
        ("**/target", "src/deep/target/x", True),
        ("**/target", "target", True),
        ("**/*.o", "a/b/c.o", True),
        ("**/*.o", "c.o", True),
        ("*.o", "a/c.o", False),
        ("*/temp*", "some/temporary.txt", True),
        ("*/temp*", "some/more/temporary.txt", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "b.txt", True),
        ("[^ab].txt", "b.txt", False),
        ("[^ab].txt", "c.txt", True),
        ("[z-a].txt", "[z-a].txt", True),  # no class: its own letters
        ("a[", "a[", True),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        ("# target", "target", False),
        ("\n  \n", "x", False),
        ("*\n!src", "src/main.c", False),
        ("*\n!src", "other", True),
        ("*\n!src\nsrc/x", "src/x", True),  # the last word counts
        ("!src\n*", "src", True),
        (".", "x", False),
        ("*", "Dockerfile", False),
        ("*", "requirements.txt", False),
        ("*", "src/Dockerfile", True),
        ("a.b", "axb", False),
        ("../x", "x", False),
    ],
)
def test_patterns(lines, name, left_out):
    assert Ignored.parse(lines)(name) is left_out


def sent(folder: Path) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(context(folder))) as tar:
        return tar.getnames()


def test_only_what_is_wanted_is_sent(tmp_path):
    for name in ("Dockerfile", "node_modules/big", "src/main.c", "src/deep/keep", "src/deep/drop"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert "node_modules/big" in sent(tmp_path)
    (tmp_path / ".dockerignore").write_text("node_modules\n*/deep\n!*/*/keep\n")
    assert sent(tmp_path) == [
        ".dockerignore", "Dockerfile", "src", "src/deep", "src/deep/keep", "src/main.c",
    ]  # fmt: skip


def test_what_is_left_out_may_be_anything(tmp_path):
    """Links that lead out, unreadable folders, too much: none of it is looked at."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "python").symlink_to("/usr/bin/python3")
    (tmp_path / ".dockerignore").write_text("venv\n")
    assert sent(tmp_path) == [".dockerignore", "Dockerfile"]
