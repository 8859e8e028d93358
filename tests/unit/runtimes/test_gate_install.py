"""The gate's file: the same for all, whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from otter_agent.runtimes import gate


@pytest.mark.slow
def test_many_threads_install_it_at_once(tmp_path):
    for turn in range(20):
        folder = tmp_path / str(turn)
        with ThreadPoolExecutor(16) as pool:
            paths = set(pool.map(lambda _: gate.install(folder), range(16)))  # noqa: B023
        (path,) = paths
        assert path.stat().st_mode & 0o777 == 0o755
        assert [p.name for p in folder.iterdir()] == [path.name]
