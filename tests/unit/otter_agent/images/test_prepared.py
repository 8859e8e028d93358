"""Weights aren't made anew for a change that prepare.py can't see."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_agent.images.prepared import NEVER, unseen


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def test_what_only_the_module_imports_is_unseen(tmp_path: Path) -> None:
    write(
        tmp_path,
        module="import net\nfrom eyes import look\nimport shared",
        eyes="if True:\n    from inner import x\nimport module",
        inner="import numpy",
        shared="import deep",
        deep="",
        prepare="def main():\n    import convert",
        convert="from shared import y",
        other="read by its name",
    )
    (tmp_path / "labels.json").touch()
    assert unseen(tmp_path) == NEVER | {"eyes.py", "inner.py"}


@pytest.mark.parametrize(
    "words",
    ["import json, shared", "from . import shared", "from .shared import x", "import shared as s",
     "import shared.x", "import json; import shared", "this is no Python"],
)  # fmt: skip
def test_however_prepare_imports_it_sees_what_it_needs(tmp_path: Path, words: str) -> None:
    write(tmp_path, module="import shared, eyes", shared="", eyes="", prepare=words)
    assert "shared.py" not in unseen(tmp_path)


def test_without_a_module_nothing_more_is_unseen(tmp_path: Path) -> None:
    write(tmp_path, prepare="import convert", convert="")
    assert unseen(tmp_path) == NEVER
