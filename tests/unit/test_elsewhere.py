"""Where tests run in a session with `--beside`, and who shares a pytest."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import elsewhere
from helpers.elsewhere import ALONE, ASIDE, GUEST, TESTS, TIMED, UNTIMED_, place


def item(path: str, name: str = "test", *marks: str) -> Any:
    """As much of a test as is looked at."""
    return SimpleNamespace(
        path=TESTS / path, nodeid=f"{path}::{name}", keywords=set(marks),
        get_closest_marker=lambda mark: mark if mark in marks else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "where"),
    [
        (item("unit/test_a.py"), UNTIMED_),
        (item("unit/test_a.py", "test", "timed"), TIMED),
        (item("integration/x/test_a.py", "test", "untimed"), UNTIMED_),
        (item("kernel/test_netem.py"), GUEST),
        (item("kernel/test_netem.py", "test", "timed"), ALONE),
        (item("kernel/test_beside.py"), TIMED),
        (item("e2e/test_a.py"), ASIDE),
        (item("e2e/data/test_a.py", "test", "docker"), ASIDE),
        (item("integration/x/test_a.py", "test", "timed"), TIMED),
        (item("contracts/test_a.py"), TIMED),
        (item("contracts/test_a.py", "test", "aside"), ASIDE),
        (item("contracts/test_a.py", "test", "wide"), ASIDE),
        (item("e2e/test_a.py", "test", "wide"), ASIDE),
    ],
    ids=lambda value: f"{value.nodeid} {sorted(value.keywords)}" if hasattr(value, "path") else "",
)
def test_a_place_is_by_folder_and_by_mark(
    one: Any, where: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "IN_GUEST", False)
    assert place(one) == where


def test_a_folder_shares_a_pytest_and_what_needs_an_engine_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elsewhere, "IN_GUEST", False)
    items = [
        item("unit/test_u.py"), item("kernel/test_netem.py"), item("kernel/test_v2.py"),
        item("e2e/test_a.py", "1"), item("e2e/test_b.py", "2", "docker"),
        item("e2e/test_b.py", "3"), item("e2e/test_b.py", "4", "timed"),
        item("e2e/test_c.py", "5", "wide"),
        item("integration/x/test_d.py", "6"),
    ]  # fmt: skip
    session: Any = SimpleNamespace(items=items, stash=pytest.Stash())
    elsewhere.make_jobs(session, GUEST, ASIDE)
    lanes = session.stash[elsewhere.lanes]
    try:
        jobs = [(job.read("kind"), job.read("tests").split()) for job in lanes.jobs]
        processors = [job.read("processors") for job in lanes.jobs]
        told = session.stash[elsewhere.job_of]
        assert {n: told[n] for n in jobs[1][1]} == dict.fromkeys(jobs[1][1], lanes.jobs[1])
    finally:
        lanes.close()
    assert jobs == [
        ("guest", ["kernel/test_netem.py::test", "kernel/test_v2.py::test"]),
        ("aside", ["e2e/test_a.py::1", "e2e/test_c.py::5"]),
        ("aside", ["e2e/test_b.py::2", "e2e/test_b.py::3"]),
        ("aside", ["integration/x/test_d.py::6"]),
    ]
    assert processors == ["", ",".join(map(str, os.sched_getaffinity(0))), "", ""]


@pytest.mark.parametrize("others", [True, False])
def test_guests_that_judge_time_begin_when_no_other_job_runs_any_more(
    monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    """And in the one boot where nothing runs beside others."""
    monkeypatch.setattr(elsewhere, "IN_GUEST", False)
    all_of_them = os.sched_getaffinity(0)
    did: list[Any] = []

    class Lanes:
        jobs: tuple[Any, ...] = (None,)

        def add(self, kind: str, tests: list[str], _processors: Any) -> None:
            did.append((kind, tests))

        def open(self, processors: Any) -> None:
            did.append(processors)

        def join(self) -> None:
            did.append("joined")

    monkeypatch.setattr(elsewhere, "Lanes", Lanes)
    monkeypatch.setattr(elsewhere, "take", lambda *_: None)
    items = [
        item("kernel/test_netem.py"), item("e2e/test_a.py"), item("kernel/test_v.py", "t", "timed"),
    ]  # fmt: skip
    session: Any = SimpleNamespace(items=items, stash=pytest.Stash())
    names = [one.nodeid for one in items]
    if others:
        elsewhere.make_jobs(session, GUEST, ASIDE)
        session.stash[elsewhere.here] = {min(all_of_them)}
        session.stash[elsewhere.all_of_them] = all_of_them
    elsewhere.collect(session)
    if others:
        assert did == [
            ("guest", names[:1]), ("aside", names[1:2]), [min(all_of_them)], "joined",
            ("guest", names[2:]), sorted(all_of_them), "joined",
        ]  # fmt: skip
    else:
        assert did == [("guest", [names[0], names[2]]), sorted(all_of_them), "joined"]


def test_of_a_job_that_ended_too_soon_one_test_has_all_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "kind").write_text("aside")
    (tmp_path / "output").write_text("Segmentation fault")
    job = elsewhere.Job(tmp_path)
    first, second = item("e2e/test_a.py", "1"), item("e2e/test_a.py", "2")
    for one in (first, second):
        one.session = SimpleNamespace(stash=pytest.Stash())
        one.session.stash[elsewhere.job_of] = {one.nodeid: job}
        one.location, one.config = ("", 0, ""), SimpleNamespace(rootpath=TESTS)
    told = [elsewhere.not_finished(one) for one in (first, second)]
    assert [report.outcome for report in told] == ["failed", "failed"]
    assert "Segmentation fault" in str(told[0].longrepr)
    assert told[1].longrepr == "its pytest ended: see e2e/test_a.py::1"
