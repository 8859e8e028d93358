"""What is said of a machine without budgets, and whose ids are whose."""

from __future__ import annotations

import msgspec
import pytest
from helpers.world import module, spec

from otter_agent import api
from otter_agent.admission import admit_without_budgets
from otter_agent.cgroups import members
from otter_agent.cgroups.ungrouped import Ungrouped
from otter_agent.errors import AgentError
from otter_agent.ground import userns
from otter_agent.layout import Layout
from otter_agent.users import machine_uid

WHY = "nobody gave any"


def with_budget(**more: object) -> api.MeshSpec:
    real = msgspec.structs.replace(module("m"), runtime="process", cpu=0.5)
    return msgspec.structs.replace(spec(real), **more)


def test_budgets_of_real_modules_are_refused_by_name() -> None:
    with pytest.raises(AgentError) as refused:
        admit_without_budgets(with_budget(), WHY)
    assert refused.value.code == "unsupported-budget"
    assert "module m can't have the cpu or memory asked: nobody gave any" in str(refused.value)


def test_budgets_may_be_lacking_where_the_topology_says_so() -> None:
    admit_without_budgets(with_budget(allow_degraded=True), WHY)


def test_fake_modules_need_none() -> None:
    fake = msgspec.structs.replace(module("m"), cpu=0.5)
    admit_without_budgets(spec(fake), WHY)


def test_ids_of_ones_own_namespace_stay_what_they_are() -> None:
    assert [machine_uid(uid) for uid in (0, 1000, 65534)] == [0, 1000, 65534]


def test_a_name_is_found_as_the_kernel_writes_it(tmp_path) -> None:
    assert userns._escaped("/home/a b\\c#") == "/home/a\\040b\\134c\\043"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ada:100000:65536\n", (100000, 65536)),
        ("bob:1:2\n7:200000:10\n", (200000, 10)),
        ("bob:1:2\n", None),
        ("ada:none:1\n", None),
        ("ada:1:0\n", None),
    ],
)
def test_further_ids_are_the_users_first(tmp_path, text, found) -> None:
    file = tmp_path / "subuid"
    file.write_text(text)
    assert userns._range(str(file), "ada", 7) == found
    assert userns._range(str(tmp_path / "missing"), "ada", 7) is None


def test_without_groups_a_module_is_known_by_its_hosts_file(tmp_path) -> None:
    layout = Layout.at(tmp_path)
    groups = Ungrouped(layout)
    place = str(groups.kill_directory("mesh/host/m"))
    assert place == f"{members.SEEING}{layout.module('mesh', 'm').hosts}"
    assert members.pids(place) == set()  # there is no such file
    assert groups.ensure("mesh/host/m", api.Budget(cpu=1.0)) == api.Budget()
