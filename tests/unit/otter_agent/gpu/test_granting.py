"""What is given is kept, whatever happens beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from net.errors import DriverError
from otter_agent import api
from otter_agent.gpu.granting import FILE, Coming, Grants
from otter_agent.gpu.mps import Mps
from otter_agent.layout import Layout

GPU = api.GpuFact(index=0, uuid="GPU-a", memory_bytes=1 << 34)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout.at(tmp_path)
    for name in ("a", "b"):
        made.module("m", name).wiring.mkdir(parents=True)
    return made


def grants(layout: Layout) -> Grants:
    made = Grants(layout, Mps(layout.run / "mps"), lambda: False)
    made.facts = (GPU,)
    return made


def module(name: str) -> api.ModuleSpec:
    return api.ModuleSpec(
        name=name, host="h", address="100.64.0.2", runtime="process", gpu=api.GpuAsk()
    )


def give(made: Grants, name: str) -> None:
    assert made.give("m", module(name), Coming("env")) is not None


def test_what_was_given_since_it_was_looked_who_has_gone_stays(layout: Layout):
    made = grants(layout)
    give(made, "a")
    had = made.snapshot()
    give(made, "a")  # by another topology
    give(made, "b")
    made.keep([], had)
    assert [grant.module for grant in made.all()] == ["a", "b"]
    made.keep([("m", "b")], made.snapshot())
    assert [grant.module for grant in made.all()] == ["b"]


def test_a_trouble_that_cannot_be_written_down_is_told_all_the_same(layout: Layout):
    made = grants(layout)
    give(made, "a")
    wiring = layout.module("m", "a").wiring
    (wiring / FILE).unlink()
    wiring.rmdir()
    wiring.write_text("as a disk that can't be written to")
    made.trouble(("m", "a"), "lost")
    assert made.all()[0].trouble == "lost"


def test_who_cannot_do_without_is_told_what_to_try(layout: Layout):
    made = grants(layout)
    with pytest.raises(DriverError, match="no way to GPUs") as refused:
        made.give("m", module("a"), Coming("", "no way to GPUs"))
    assert str(refused.value).endswith("; `otterctl gpu ls` shows what there is; "
                                       "`allow_degraded = true` runs it without")  # fmt: skip
    assert made.all() == ()


def test_the_next_agent_knows_it_and_believes_no_file_of_another_module(layout: Layout):
    give(grants(layout), "a")
    data = (layout.module("m", "a").wiring / FILE).read_bytes()
    (layout.module("m", "b").wiring / FILE).write_bytes(data.replace(b'"a"', b'"../x"'))
    assert [(g.mesh, g.module) for g in grants(layout).all()] == [("m", "a")]


def test_what_is_told_before_limits_are_known_decides_nothing(layout: Layout):
    made = Grants(layout, Mps(layout.run / "mps"), lambda: False)
    here = api.GpuState(driver="nvml", gpus=(api.GpuStatus(index=0, uuid="GPU-a"),))
    made.take(here)
    assert made.facts == ()
    made.take(here, {"GPU-a": ""})
    made.take(here)
    assert ([fact.uuid for fact in made.facts], made.limits) == (["GPU-a"], {"GPU-a": ""})
    made.take(api.GpuState(why="lost"))
    assert (made.facts, made.why) == ((), "lost")
