"""Which machines a verb knows of."""

from __future__ import annotations

import pytest

from otter_ctl.cli import Session
from otter_ctl.cli.preparing import reaching
from otter_ctl.local import LocalAgent
from otter_ctl.topology import load

SITE = "[machines.big]\nbuilder = true\n[machines.other]\nbuilder = true\n"


@pytest.mark.parametrize(
    ("without", "builders"), [((), ("big", "other")), (("big", "gone"), ("other",))]
)
def test_a_machine_that_is_left_out_makes_no_images(tmp_path, monkeypatch, without, builders):
    """It is known all the same: one that answers is emptied. Who gives no answer can't build."""
    (tmp_path / "site.toml").write_text(SITE)
    monkeypatch.setenv("OTTER_SITE", str(tmp_path / "site.toml"))
    (tmp_path / "m.toml").write_text('name = "m"\n[hosts.a]\n')
    session = Session(LocalAgent(tmp_path), tmp_path / "runs")
    agents = reaching(session, load(tmp_path / "m.toml"), without=without).agents
    assert (agents.builders, agents.names) == (builders, ["local", "big", "other"])
