"""Limits of GPU memory on real groups of cgroup v2: an agent, over a stand-in for the library."""

from __future__ import annotations

import pytest
from helpers import nvml
from helpers.otter import wait_for

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

NEW = f"""
driver 615.71
gpu GPU-1111 NVIDIA L4
memory 24152899584 0
limits {2 << 20}
backend misc
"""
MESH = """
name = "gpus"
[defaults.module]
runtime = "process"
[hosts.edge]
[modules.gan]
host = "edge"
gpu = { memory = "1GiB" }
command = ["sleep", "1000"]
"""


@pytest.fixture
def machine(otter, tmp_path) -> nvml.Machine:
    made = nvml.Machine(nvml.build(tmp_path), tmp_path / "scenario")
    otter.env.update(made.env)
    return made


def test_the_drivers_limit_holds_a_module_from_its_first_instruction_on(otter, machine):
    machine.tell(NEW)
    otter.serve()
    otter("apply", otter.topology(MESH))
    (state,) = otter.json("gpu", "verify").values()
    levels = {(fact["level"], fact["gpu"]): fact for fact in state["levels"]}
    assert levels["limit", 0]["there"], levels
    (grant,) = state["grants"]
    assert (grant["memory"], grant["memory_bytes"], grant["trouble"]) == ("limit", 1 << 30, "")
    assert "1GiB (limit)" in otter("gpu", "ls").stdout
    kept = otter.modules("gpus")["gan"]["pid"]
    machine.tell(NEW.replace("backend misc", "lacks limits"))  # its limit is gone, as in MIG

    def unheld() -> bool:
        (told,) = otter.json("gpu", "ls")["local"]["grants"]
        return bool(told["trouble"])

    wait_for(unheld, "word that it isn't held")
    assert otter.modules("gpus")["gan"]["pid"] == kept
