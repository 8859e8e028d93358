"""`--site` is for its verb: who runs one from Python has the same environment afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otter_ctl.__main__ import run


@pytest.mark.parametrize("named", [None, "/mine/site.toml"])
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("machine", "ls", "--json"), 0),
        (("machine", "rm"), 2),  # it is never begun: which one?
        (("machine", "ls", "one", "too many"), 2),
        (("validate", "not-there.toml"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_it_is_gone_after_its_verb(
    words: tuple[str, ...],
    status: int,
    named: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OTTER_SITE", raising=False)
    if named is not None:
        monkeypatch.setenv("OTTER_SITE", named)
    site = tmp_path / "site.toml"
    site.write_text(f'[machines.box]\ndirect = true\nsocket = "{tmp_path}/none"\n')
    assert run([*words, "--site", str(site)]) == status
    assert os.environ.get("OTTER_SITE") == named
