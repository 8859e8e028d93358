"""Pictures of texts."""

from __future__ import annotations

import pytest

from otter_ctl.graph.build import of_topology
from otter_ctl.topology import load


@pytest.fixture
def picture(tmp_path):
    """The `Picture` of a topology's text."""

    def draw(text: str):
        path = tmp_path / "drawn.toml"
        path.write_text(f'name = "drawn"\n{text}')
        return of_topology(load(path))

    return draw
