"""Pages of figures: figures, verdicts, whether to believe them, what stays when some are new."""

from __future__ import annotations

import datetime

import pytest

from benchmarks.machine import Description
from benchmarks.pages import PAGES, main, section, sections, text
from benchmarks.row import Row

HERE: Description = {
    "cpu": "A", "cores": 2, "memory_bytes": 2**33, "kernel": "6", "os": "B", "python": "3",
    "load": [0.1, 0.2, 0.3], "used": 0.1,
}  # fmt: skip
ROW: Row = {
    "name": "handed over", "unit": "s", "better": "lower", "ours": 0.00027,
    "peers": {"tcp": 0.0062}, "limit": None, "goal": 0.0002, "n": 5, "note": "load beside",
}  # fmt: skip
DAY = datetime.date(2026, 1, 31)


def test_a_row_has_its_figures_its_verdict_and_its_reason():
    made = section("shared-memory", "Shared memory", [ROW], HERE, DAY)
    assert made.startswith("## Shared memory\n")
    assert "`python -m benchmarks shared-memory` on 2026-01-31: A, 2 cores" in made
    assert "| handed over | 270 µs | 200 µs | MISSED | tcp 6.2 ms |  | 5 | load beside |\n" in made
    assert "busy" not in made


def test_a_part_of_a_benchmark_does_not_take_the_place_of_its_whole_section(
    monkeypatch, tmp_path, capsys
):
    page = tmp_path / PAGES["netem"].file
    page.parent.mkdir()
    page.write_text("as it was")
    monkeypatch.setattr("benchmarks.pages.measure", lambda names: ([ROW], {}, {}))
    monkeypatch.setattr("benchmarks.machine.describe", lambda: HERE)
    monkeypatch.setenv("OTTER_BENCH_NETEM", "bursts")
    for names in ([], ["netem-time", "netem"]):
        with pytest.raises(SystemExit) as refused:
            main(["netem", *names, "--write", str(tmp_path)])
        assert refused.value.code == 2
        said = capsys.readouterr().err
        assert "OTTER_BENCH_NETEM has only a part of netem measured" in said
        assert "unset it, or look at the part with `python -m benchmarks netem`" in said
        assert page.read_text() == "as it was"
    assert main(["netem", "netem-time", "--write", str(tmp_path)]) == 0  # all of another one
    monkeypatch.delenv("OTTER_BENCH_NETEM")
    assert main(["netem", "netem", "--write", str(tmp_path)]) == 0
    assert page.read_text().count(ROW["name"]) == 2


def test_a_busy_machine_is_said():
    made = section("shared-memory", "Shared memory", [ROW], {**HERE, "used": 1.0}, DAY)
    assert "**The machine was busy with other work" in made


@pytest.mark.parametrize("name", PAGES)
def test_sections_that_are_not_measured_anew_stay(name):
    first, *others = PAGES[name].sections.items()
    old = {title: section(one, title, [ROW], HERE, DAY) for one, title in others}
    assert sections(text(name, old)) == old | {first[1]: f"## {first[1]}\n\nNot measured.\n"}
    new = {first[1]: section(*first, [ROW], HERE, DAY)}
    page = text(name, sections(text(name, old)) | new)
    assert sections(page) == old | new
    assert text(name, sections(page)) == page
