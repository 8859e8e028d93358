"""Which machines a verb knows of, and which agents it speaks to."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_ctl.cli import Session
from otter_ctl.cli.preparing import prepared_for, reaching
from otter_ctl.client import AgentClient
from otter_ctl.errors import RemoteError
from otter_ctl.local import LocalAgent
from otter_ctl.spread import Fleet
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


class Old(AgentClient):
    """An agent of before; whatever else it is asked it wouldn't understand."""

    async def info(self) -> api.Info:
        return api.Info(
            agent="a", version="0.1", api_version=api.API_VERSION - 1, pid=7, root="/",
            machine="pi", cpus=1, memory_bytes=1 << 30, arch="x86_64", kernel="6", cgroup="v2",
            runtimes=(),
        )  # fmt: skip


async def test_an_agent_here_that_speaks_another_api_is_asked_for_nothing(tmp_path):
    (tmp_path / "m.toml").write_text('name = "m"\n[hosts.a]\n')
    fleet = Fleet(tmp_path / "agent.sock", {})
    fleet.agents._clients["local"] = Old(tmp_path / "agent.sock")
    session = Session(LocalAgent(tmp_path), tmp_path / "runs")
    topology = load(tmp_path / "m.toml")
    with pytest.raises(RemoteError, match="its agent is of version") as raised:
        await prepared_for(session, fleet, tmp_path / "m.toml", (), topology)
    assert raised.value.hint.startswith("restart it: kill 7; meshes live on")
