"""What is said of things that machines keep, where some machines give no answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from otter_ctl.__main__ import run


@pytest.mark.parametrize("words", [("cache", "rm", "--unused"), ("image", "prune")], ids=" ".join)
@pytest.mark.parametrize(
    ("option", "said"), [(("--dry-run",), "0 would be removed"), ((), "0 removed")], ids=str
)
def test_where_nobody_answers_a_dry_run_is_one_all_the_same(
    words: tuple[str, ...],
    option: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'[machines.box]\ndirect = true\nsocket = "{tmp_path}/none"\n')
    root = ["--root", str(tmp_path / "root")]
    assert run([*root, *words, *option, "--on", "box", "--site", str(site)]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "box" in told
