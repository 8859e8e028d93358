"""Every verb starts quickly: what is slow to import is imported where it is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from otter_ctl.cli import VERBS

SLOW = {"aiohttp", "rich", "numpy", "asyncssh", "pydoc"}
"""Each takes 20 to 100 ms."""
NOT_FOR_HELP = SLOW | {"asyncio", "msgspec", "h11", "tree_sitter", "tomllib"}


def imported_by(code: str) -> set[str]:
    show = "import json, sys; print(json.dumps([m.partition('.')[0] for m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {show}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.slow
def test_help_imports_no_verb():
    assert not imported_by("import otter_ctl.__main__, click") & NOT_FOR_HELP


@pytest.mark.slow
def test_verbs_import_nothing_slow():
    found = imported_by(f"import {', '.join(f'otter_ctl.cli.{verb}' for verb in VERBS)}")
    assert not found & SLOW
