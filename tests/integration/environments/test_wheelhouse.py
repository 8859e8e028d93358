"""Fetching wheels, with a real pip and an index of the test's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.folders import signalled, tree
from helpers.wheels import make_sdist, make_wheel

from otter_agent.errors import ImageError
from otter_agent.images import wheelhouse
from otter_agent.images.wheelhouse import Wheelhouse, requirements_of


@pytest.fixture
def house(tmp_path: Path) -> Wheelhouse:
    return Wheelhouse(tmp_path / "wheels")


def names(folder: Path) -> set[str]:
    return {wheel.name.rsplit("-", 3)[0] for wheel in folder.iterdir()}


def leftovers(house: Wheelhouse) -> set[str]:
    return {name for name in tree(house.folder) if ".tmp-" in name}


def test_requirements_are_lines_without_comments() -> None:
    text = "# all\n\nnumpy>=1  # arrays\n torch \\\n  ==2\nx @ https://host/x#egg=x\n"
    assert requirements_of(text) == ["numpy>=1", "torch    ==2", "x @ https://host/x#egg=x"]


async def test_a_set_holds_what_is_needed_and_is_fetched_once(
    house: Wheelhouse, index: Path
) -> None:
    make_wheel(index, "otterone", requires=["ottertwo>=1"])
    make_wheel(index, "ottertwo")
    make_wheel(index, "otterthree")
    lines: list[str] = []
    folder = await house.fetch(["otterone"], log=lines.append)
    assert names(folder) == {"otterone-1.0", "ottertwo-1.0"}
    assert any("otterone" in line for line in lines)

    shutil.rmtree(index)
    lines.clear()
    assert await house.fetch(["otterone"], log=lines.append) == folder
    assert lines == []
    assert leftovers(house) == set()


async def test_no_deps_and_other_pythons_are_sets_of_their_own(
    house: Wheelhouse, index: Path
) -> None:
    make_wheel(index, "otterone", requires=["ottertwo"])
    make_wheel(index, "ottertwo")
    alone = await house.fetch(["otterone"], no_deps=True, log=print)
    other = await house.fetch(["otterone"], python="3.99", log=print)
    assert names(alone) == {"otterone-1.0"}
    assert names(other) == {"otterone-1.0", "ottertwo-1.0"}
    assert list((await house.fetch([], log=print)).iterdir()) == []


async def test_what_the_base_has_is_kept_and_left_out(house: Wheelhouse, index: Path) -> None:
    make_wheel(index, "otterbase", "1.0")
    make_wheel(index, "otterbase", "2.0")
    make_wheel(index, "otterone", requires=["otterbase>=1"])
    folder = await house.fetch(["otterone"], base=["otterbase==1.0"], log=print)
    assert names(folder) == {"otterone-1.0"}
    with pytest.raises(ImageError):
        await house.fetch(["otterbase==2.0"], base=["otterbase==1.0"], log=print)


async def test_source_distributions_are_built(house: Wheelhouse, index: Path) -> None:
    make_sdist(index, "ottersource")
    assert names(await house.fetch(["ottersource"], log=print)) == {"ottersource-1.0"}


async def test_a_failure_says_why_and_leaves_nothing(house: Wheelhouse, index: Path) -> None:
    with pytest.raises(ImageError, match="otternone: pip could not fetch") as caught:
        await house.fetch(["otternone"], log=print)
    assert "No matching distribution found for otternone" in "\n".join(caught.value.tail)
    assert "No matching distribution" in str(caught.value)
    assert leftovers(house) == set()


async def test_concurrent_calls_fetch_once(house: Wheelhouse, index: Path) -> None:
    make_wheel(index, "otterone")
    lines: list[str] = []
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(Wheelhouse(house.folder).fetch(["otterone"], log=lines.append))
            for _ in range(8)
        ]
    assert len({task.result() for task in tasks}) == 1
    assert sum(line.startswith("fetching") for line in lines) == 1


async def test_an_index_for_torch_that_is_away_costs_nothing(
    house: Wheelhouse, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(index, "torch", "2.13.0")
    monkeypatch.setenv("OTTER_TORCH_INDEX", "http://127.0.0.1:1/whl")
    lines: list[str] = []
    ran: list[list[str]] = []
    real = wheelhouse.run

    async def run(argv: list[str], **options: Any) -> None:
        ran.append(argv)
        await real(argv, **options)

    monkeypatch.setattr(wheelhouse, "run", run)
    assert names(await house.fetch(["torch==2.13.0"], log=lines.append)) == {"torch-2.13.0"}
    assert ran
    assert not any("127.0.0.1:1" in word for argv in ran for word in argv)  # pip would try again
    assert any(line.startswith("http://127.0.0.1:1/whl can't be used") for line in lines)


FETCH = """
import asyncio, sys
from pathlib import Path
from otter_agent.images.wheelhouse import Wheelhouse
asyncio.run(Wheelhouse(Path(sys.argv[1])).fetch(["ottersource"], log=lambda line: None))
"""


async def test_killed_in_the_middle_it_starts_anew(
    house: Wheelhouse, index: Path, tmp_path: Path
) -> None:
    """The build waits at a FIFO: we kill the fetching process there, its pip dies with it."""
    started, gate = tmp_path / "started", tmp_path / "gate"
    os.mkfifo(started)
    os.mkfifo(gate)
    wait = f"open({str(started)!r}, 'w').write('x'); open({str(gate)!r}).close()"
    make_sdist(index, "ottersource", before=wait)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FETCH, str(house.folder))
    try:
        await signalled(started)
        assert leftovers(house)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    try:
        make_sdist(index, "ottersource")
        async with asyncio.timeout(120):
            folder = await house.fetch(["ottersource"], log=print)
    finally:
        # The backend is pip's child; it goes on until it is let go.
        os.close(os.open(gate, os.O_RDWR))
    assert names(folder) == {"ottersource-1.0"}
    assert leftovers(house) == set()
