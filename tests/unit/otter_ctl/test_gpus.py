"""`gpu = { count, memory, share }` of hosts and modules: what a plan makes of it, and refuses."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_agent.api import checks
from otter_ctl.errors import PlacementError, PlanError
from otter_ctl.planning import gpus
from otter_ctl.planning.hosting import Grounds, house
from otter_ctl.planning.placement import place as placed
from otter_ctl.planning.resolve import plan
from otter_ctl.topology.model import Gpu, Host, Module

GIB = 1 << 30
TOP = 'name = "m"\n[defaults.module]\nruntime = "process"\n'


def planned(topology):
    return plan(topology, current=None, runtime_default="process", blobs={}, run="r")


def host(**gpu) -> Host:
    return Host(name="h", gpu=Gpu(**gpu) if gpu else None)


def module(**gpu) -> Module:
    return Module(name="m", gpu=Gpu(**gpu) if gpu else None)


@pytest.mark.parametrize(
    ("of_module", "of_host", "ask", "share"),
    [
        ({}, {}, None, None),
        ({"share": 0.5}, {}, None, 0.5),  # a share alone demands nothing
        ({"count": 2}, {"count": 2}, api.GpuAsk(count=2), None),
        ({"memory_bytes": GIB}, {}, api.GpuAsk(memory_bytes=GIB), None),
        ({"count": 1, "share": 0.5}, {"memory_bytes": 4 * GIB},
         api.GpuAsk(memory_bytes=2 * GIB), 0.5),  # its share of its host's
        ({"memory_bytes": GIB, "share": 0.5}, {"memory_bytes": 4 * GIB, "share": 0.5},
         api.GpuAsk(memory_bytes=GIB), 0.25),
        ({}, {"memory_bytes": GIB, "share": 0.5}, None, 0.5),
    ],
)  # fmt: skip
def test_what_a_module_asks(of_module, of_host, ask, share):
    one, at = module(**of_module), host(**of_host)
    assert gpus.ask(one, at, degraded=False) == ask
    assert gpus.share(one, at) == share


def test_where_it_may_be_degraded_nothing_is_required():
    assert gpus.ask(module(count=1), host(), degraded=True) == api.GpuAsk(required=False)


def module_on_h(name: str, gpu: str) -> str:
    return f'[modules.{name}]\ncommand = ["true"]\nhost = "h"\ngpu = {{ {gpu} }}\n'


def test_more_memory_than_the_host_has_is_refused_unless_that_is_asked_for(read):
    text = f'{TOP}[hosts.h]\ngpu = {{ memory = "4GiB" }}\n'
    text += module_on_h("a", 'memory = "3GiB"') + module_on_h("b", 'memory = "2GiB"')
    with pytest.raises(PlanError, match="its modules ask for 5GiB of GPU memory, it has 4GiB"):
        planned(read(text))
    assert planned(read(f"overcommit = true\n{text}"))


@pytest.mark.parametrize(
    ("of_host", "count"), [("count = 2", 3), ('share = "50%"', 2)], ids=["too many", "one"]
)
def test_more_gpus_than_the_host_has_are_refused(read, of_host, count):
    text = f"{TOP}[hosts.h]\ngpu = {{ {of_host} }}\n{module_on_h('a', f'count = {count}')}"
    with pytest.raises(PlacementError, match=f"h lacks {count} GPUs"):
        planned(read(text))


def test_shares_that_add_up_to_more_than_all_are_parts_of_the_sum_and_that_is_said(read):
    shares = module_on_h("a", 'share = "100%"') + module_on_h("b", 'share = "50%"')
    made = planned(read(f"{TOP}[hosts.h]\n{shares}"))
    assert made.warnings == (
        "host h: shares of a GPU add up to 150%: where all want it, a 67%, b 33%",
    )
    assert [m.gpu_share for m in made.spec.modules] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("accelerator", "gpu", "of_host", "warned"),
    [
        ("cuda", "", "", True),
        ("l4t", "", "", True),
        ("cpu", "", "", False),
        ("cuda", "gpu = { count = 1 }", "", False),
        ("cuda", 'gpu = { share = "50%" }', "", False),  # has one where there is one
        ("cuda", "", 'gpu = { share = "50%" }', False),
        ("cuda", "", "gpu = { count = 1 }", True),  # which none of its modules is given
    ],
)
def test_who_is_made_for_a_gpu_and_asks_for_none_is_warned_of(
    read, accelerator, gpu, of_host, warned
):
    text = f'{TOP}[hosts.h]\n{of_host}\n[modules.a]\ncommand = ["true"]\nhost = "h"\n'
    made = planned(read(f'{text}accelerator = "{accelerator}"\n{gpu}\n'))
    said = f"made for {accelerator}, without a `gpu`: a: a module sees only GPUs that it was given"
    assert made.warnings == ((said,) if warned else ())


def test_who_needs_several_gpus_goes_where_several_are():
    hosts = [Host(name="one", gpu=Gpu(share=1.0)), Host(name="two", gpu=Gpu(count=2))]
    none: dict[str, str] = {}
    asks = {"cross_s": lambda *_: 0.0, "offers": {}}
    found = placed(hosts, [Module(name="x", gpu=Gpu(count=2))], [], none, **asks)
    assert found.seats == {"x": "two"}
    with pytest.raises(PlacementError, match="two lacks 3 GPUs"):
        placed(hosts, [Module(name="x", gpu=Gpu(count=3))], [], none, **asks)


MACHINES = "[machines.one]\n[machines.two]\n"


def info(name: str, *sizes: int | None) -> api.Info:
    """A machine whose GPUs have so much memory each."""
    facts = tuple(
        api.GpuFact(index=n, uuid=f"GPU-{name}-{n}", memory_bytes=size)
        for n, size in enumerate(sizes)
    )
    return api.Info(
        agent=name, version="1", api_version=1, pid=1, root="/", machine=name, cpus=4,
        memory_bytes=8 * GIB, arch="x86_64", kernel="6", cgroup="v2", link_driver="tun",
        runtimes=(api.RuntimeFact(name="process", usable=True, detail=""),), gpu_facts=facts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gpu", "where"),
    [
        ("", "local"),
        ('gpu = { share = "50%" }', "two"),
        ("gpu = { count = 2 }", "two"),
        ('gpu = { memory = "8GiB" }', "two"),
        ('gpu = { memory = "12GiB" }', "two"),
        ('gpu = { memory = "24GiB" }', "two lacks a GPU of 24GiB"),  # not two that add up to that
        ('gpu = { count = 2, memory = "16GiB" }', "lacks 2 GPUs of 16GiB"),
        ("gpu = { count = 3 }", "two lacks 3 GPUs"),
    ],
)
def test_hosts_go_where_there_are_enough_gpus_with_enough_memory(read, gpu, where):
    """Those of WSL2 count as well, of which the driver alone tells."""
    topology = read(
        f'{TOP}{MACHINES}[hosts.h]\n{gpu}\n[modules.m]\ncommand = ["true"]\nhost = "h"\n'
    )
    infos = {"local": info("local"), "one": info("one", 4 * GIB),
             "two": info("two", 8 * GIB, 16 * GIB)}  # fmt: skip
    if where in infos:
        assert house(topology, Grounds(infos)).machines == {"h": where}
    else:
        with pytest.raises(PlacementError, match=where):
            house(topology, Grounds(infos))


def test_a_module_brings_its_host_to_a_gpu_that_has_enough_memory_by_itself(read):
    machines = MACHINES + '[hosts.h]\namong = ["one", "two"]\n'
    topology = read(TOP + machines + module_on_h("m", 'memory = "12GiB"'))
    infos = {"one": info("one", 8 * GIB, 8 * GIB), "two": info("two", 16 * GIB)}
    assert house(topology, Grounds(infos)).machines == {"h": "two"}
    infos["two"] = info("two", None)  # it may have as much
    assert house(topology, Grounds(infos)).machines == {"h": "two"}


FACTS = (
    api.GpuFact(index=0, uuid="GPU-a", memory_bytes=4 * GIB), api.GpuFact(index=1, uuid="GPU-b"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "facts", "said"),
    [
        (api.GpuAsk(), FACTS, ""),
        (api.GpuAsk(), (), "asks for 1 GPU: this machine has none (no driver)"),
        (api.GpuAsk(count=3), FACTS, "asks for 3 GPUs: this machine has 2"),
        (api.GpuAsk(memory_bytes=8 * GIB), FACTS, ""),  # the second one may have so much
        (api.GpuAsk(memory_bytes=8 * GIB), FACTS[:1], "with 8 GiB: none here has so much"),
        (api.GpuAsk(count=2, required=False), (), ""),
    ],
)
def test_an_agent_refuses_what_its_machine_lacks(ask, facts, said):
    one = api.ModuleSpec(name="x", host="h", address="10.0.0.1", runtime="process", gpu=ask)
    spec = api.MeshSpec(name="m", run="r", modules=(one,))
    problem = api.no_gpus(spec, facts, "" if facts else "no driver")
    assert (problem.message if problem else "").endswith(said) or said in problem.message
    assert problem is None or (
        problem.code == "unsupported-gpu" and "allow_degraded" in problem.hint
    )


def test_a_module_without_gpus_is_the_instance_that_it_was_in_former_versions():
    one = api.ModuleSpec(name="x", host="h", address="10.0.0.1", runtime="process")
    other = api.ModuleSpec(
        name="x", host="h", address="10.0.0.1", runtime="process", gpu=api.GpuAsk(count=2)
    )
    assert api.instance_digest(one) != api.instance_digest(other)


def test_a_hosts_share_is_told_and_changed_by_events(read):
    event = '[[events]]\nat = "10s"\nhost = "h"\nset = { gpu_share = "25%" }\n'
    shared = '[hosts.h]\ngpu = { share = "50%" }\n' + module_on_h("a", 'share = "50%"')
    made = planned(read(f"{TOP}{shared}{event}"))
    assert [h.gpu_share for h in made.spec.hosts] == [0.5]
    assert [m.gpu_share for m in made.spec.modules] == [0.25]
    (told,) = made.spec.timeline.events
    assert (told.hosts, told.change) == (("h",), {"gpu_share": 0.25})
    checks.check(made.spec)
