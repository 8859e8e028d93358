"""Hosts onto machines: constraints, what it costs, what stays, and why nowhere else."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_ctl.errors import PlacementError, PlanError
from otter_ctl.planning.arranging import arrange
from otter_ctl.planning.hosting import Grounds, Hosting, candidates, house
from otter_ctl.planning.machines import left_out
from otter_ctl.planning.resolve import plan
from otter_ctl.topology.locate import locate

SITE = """
[machines.pi]
labels = ["small"]
[machines.box]
labels = ["gpu"]
[machines.desk]
"""
PROCESSES = '[defaults.module]\nruntime = "process"\n'
CHAIN = """
[[links]]
between = ["a", "b"]
delay = "5ms"
[[links]]
between = ["b", "c"]
delay = "5ms"
"""


def runtime(name: str, why: str = "") -> api.RuntimeFact:
    return api.RuntimeFact(name=name, usable=not why, detail=why)


BOTH = (runtime("docker"), runtime("process"))


def info(name: str, *, cpus: int = 4, arch: str = "x86_64", **more) -> api.Info:
    """What an agent says of itself."""
    facts = {"runtimes": BOTH, "link_driver": "tun", "memory_bytes": 8 << 30, "cgroup": "v2"}
    return api.Info(
        agent=name, version="1", api_version=1, pid=1, root="/", machine=name, cpus=cpus,
        arch=arch, kernel="6", **{**facts, **more},
    )  # fmt: skip


def grounds(*infos: api.Info, **more) -> Grounds:
    return Grounds({one.machine: one for one in infos}, **more)


FOUR = grounds(info("local"), info("pi", arch="aarch64"), info("box", cpus=16), info("desk"))


def topology(read, hosts: str, links: str = "", head: str = ""):
    return read(f'name = "m"\n{head}{PROCESSES}{SITE}{hosts}{links}')


def where(found: Hosting) -> dict[str, str]:
    return dict(found.machines)


class TestWhere:
    def test_a_host_that_says_nothing_is_here_while_it_fits(self, read):
        asked = topology(read, "[hosts.a]\ncpu = 3\n[hosts.b]\ncpu = 3\n[hosts.c]\n", CHAIN)
        found = where(house(asked, FOUR))
        assert found == {"a": "box", "b": "local", "c": "local"}, "who talks least goes, to most"

    def test_without_other_machines_it_is_here_or_refused(self, read):
        asked = read('name = "m"\n[hosts.a]\ncpu = 3\n[hosts.b]\ncpu = 3\n')
        assert candidates(asked) == {"a": ("local",), "b": ("local",)}
        with pytest.raises(PlacementError, match=r"host b: fits on no machine \(local has 1 of 3"):
            house(asked, grounds(info("local")))

    def test_among_lets_cost_decide(self, read):
        hosts = '[hosts.a]\nmachine = "box"\n[hosts.b]\namong = "*"\n[hosts.c]\namong = ["d*"]\n'
        assert where(house(topology(read, hosts, CHAIN), FOUR)) == {
            "a": "box", "b": "box", "c": "desk",
        }  # fmt: skip

    @pytest.mark.parametrize(("slow_s", "best"), [(0.02, "box"), (0.0001, "pi")])
    def test_what_was_measured_between_machines_counts(self, read, slow_s, best):
        hosts = (
            '[hosts.a]\nmachine = "pi"\n[hosts.c]\nmachine = "desk"\n'
            '[hosts.b]\namong = ["pi", "desk", "box"]\n'
        )
        ways = {("box", "pi"): 0.001, ("box", "desk"): 0.001, ("desk", "pi"): slow_s}
        there = grounds(*FOUR.infos.values(), ways_s=ways)
        assert where(house(topology(read, hosts, CHAIN), there))["b"] == best

    def test_streams_say_which_link_matters(self, read):
        hosts = (
            '[hosts.a]\nmachine = "pi"\n[hosts.c]\nmachine = "box"\n[hosts.b]\namong = "*"\n'
            '[modules.x]\ncommand = ["true"]\nhost = "b"\n'
            '[modules.y]\ncommand = ["true"]\nhost = "c"\n'
            '[[streams]]\nfrom = "x.o"\nto = "y.i"\n'
            'expect = { message = "10kB", every = "10ms" }\n'
        )
        assert where(house(topology(read, hosts, CHAIN), FOUR))["b"] == "box"

    @pytest.mark.parametrize("placer", ["greedy", "optimal"])
    def test_budgets_fill_machines(self, read, placer):
        hosts = '[hosts.a]\ncount = 6\ncpu = 2\namong = ["pi", "desk", "local"]\n'
        head = f'placement = "{placer}"\n'
        found = where(house(topology(read, hosts, head=head), FOUR))
        assert sorted(found.values()) == ["desk"] * 2 + ["local"] * 2 + ["pi"] * 2

    def test_beside_and_apart(self, read):
        hosts = (
            '[defaults.host]\namong = "*"\n[hosts.a]\ncount = 3\napart = "a-*"\n'
            '[hosts.b]\nbeside = "a-3"\n'
        )
        found = where(house(topology(read, hosts), FOUR))
        assert len({found[f"a-{n}"] for n in (1, 2, 3)}) == 3
        assert found["b"] == found["a-3"]

    def test_a_whole_machine_is_one_host_only(self, read):
        hosts = '[hosts.a]\ncount = 2\nwhole = true\namong = ["pi", "desk"]\n'
        assert sorted(where(house(topology(read, hosts), FOUR)).values()) == ["desk", "pi"]
        hosts = hosts.replace("count = 2", "count = 3")
        with pytest.raises(PlacementError, match="pi is another host already, as a whole"):
            house(topology(read, hosts), FOUR)


class TestConstraints:
    @pytest.mark.parametrize(
        ("asks", "machine"),
        [
            ('on = { arch = "arm64" }', "pi"),
            ('on = { label = "gpu" }', "box"),
            ('among = "*"\ncpu = 10', "box"),
            ('among = "*"\ngateway = true', "desk"),
            ('among = "*"\ngpu = { share = "50%" }', "box"),
        ],
    )
    def test_what_a_host_asks(self, read, asks, machine):
        no_way = {"gateways": "no steering"}
        there = grounds(
            info("local", **no_way),
            info("pi", arch="aarch64", **no_way),
            info("box", cpus=16, devices=(api.Accelerator(kind="nvidia", device="/dev/n"),),
                 **no_way),
            info("desk"),
        )  # fmt: skip
        assert where(house(topology(read, f"[hosts.a]\n{asks}\n"), there)) == {"a": machine}

    def test_a_module_brings_what_it_needs_to_its_host(self, read):
        text = (
            '[hosts.a]\namong = "*"\n[modules.x]\nimage = "x:1"\nruntime = "docker"\nhost = "a"\n'
        )
        without = (runtime("docker", "no engine answers"), runtime("process"))
        there = grounds(info("local", runtimes=without), info("pi", runtimes=without), info("desk"))
        asked = topology(read, text)
        found = house(asked, there)
        assert where(found) == {"a": "desk"}
        (reason,) = found.reasons()
        assert reason.others["local"] == "lacks runtime docker (no engine answers)"
        assert reason.others["box"] == "doesn't answer"

    def test_a_kernel_that_lacks_something_is_left_for_those_that_have_it(self, read):
        hosts = '[hosts.a]\namong = ["pi", "desk"]\n[hosts.b]\nmachine = "local"\n'
        links = '[[links]]\nbetween = ["a", "b"]\ndelay = "5ms"\n'
        bare = info("pi", link_driver="none", link_driver_why="no tun, no netem")
        there = grounds(info("local"), bare, info("desk"))
        found = house(topology(read, hosts, links), there)
        assert found.machines["a"] == "desk"
        assert found.reasons()[0].others["pi"] == "lacks link driver (no tun, no netem)"
        lenient = topology(read, hosts, links, head="allow_degraded = true\n")
        assert house(lenient, there).machines["a"] == "pi"

    def test_rates_of_modules_are_where_the_kernel_can_keep_them(self, read):
        lacking = api.Feature(name="htb", usable=False, detail="no sch_htb")
        there = grounds(info("local"), info("pi", features=(lacking,)), info("desk"))
        slower, among = 'network = { out = "1mbit" }\n', '[hosts.a]\namong = ["pi", "desk"]\n'
        of_a_module = f'[modules.x]\nhost = "a"\ncommand = ["x"]\n{slower}'
        for asked in (f"{among}{slower}", f"{among}{of_a_module}"):
            found = house(topology(read, asked), there)
            assert where(found) == {"a": "desk"}
            assert found.reasons()[0].others["pi"] == "lacks network rates (no sch_htb)"
        assert where(house(topology(read, among), there)) == {"a": "pi"}

    def test_what_other_meshes_hold_is_not_there(self, read):
        held = (api.Held(mesh="other", cpu=3, memory_bytes=0),)
        there = grounds(info("local", held=held), info("pi"))
        asked = topology(read, '[hosts.a]\ncpu = 2\namong = ["local", "pi"]\n')
        found = house(asked, there)
        assert where(found) == {"a": "pi"}
        assert found.reasons()[0].others["local"] == "has 1 of 2 cores free"
        own = (api.Held(mesh="m", cpu=3, memory_bytes=0),)
        assert where(house(asked, grounds(info("local", held=own), info("pi")))) == {"a": "local"}

    def test_overcommit_spreads_and_never_refuses(self, read):
        hosts = '[hosts.a]\ncount = 4\ncpu = 4\namong = ["pi", "desk"]\n'
        found = where(house(topology(read, hosts, head="overcommit = true\n"), FOUR))
        assert sorted(found.values()) == ["desk", "desk", "pi", "pi"]


class TestWhatStays:
    HOSTS = '[hosts.a]\ncpu = 2\namong = "*"\n[hosts.b]\ncpu = 2\namong = "*"\n[hosts.c]\n'

    def test_it_stays_where_it_runs_though_another_machine_were_cheaper(self, read):
        asked = topology(read, self.HOSTS, CHAIN)
        now = {"a": "pi", "b": "desk", "c": "local"}
        there = grounds(*FOUR.infos.values(), current=now)
        found = house(asked, there)
        assert where(found) == now
        assert {reason.why for reason in found.reasons()} == {"runs there already"}
        assert where(house(asked, FOUR)) != now

    def test_it_moves_when_it_no_longer_fits_and_only_it(self, read):
        now = {"a": "pi", "b": "pi", "c": "pi"}
        asked = topology(read, self.HOSTS.replace("cpu = 2", "cpu = 3"), CHAIN)
        found = where(house(asked, grounds(*FOUR.infos.values(), current=now)))
        assert (found["a"], found["c"]) == ("pi", "pi")
        assert found["b"] != "pi"

    def test_it_moves_when_a_constraint_says_so(self, read):
        asked = topology(read, '[hosts.a]\non = { arch = "arm64" }\n')
        there = grounds(*FOUR.infos.values(), current={"a": "box"})
        assert where(house(asked, there)) == {"a": "pi"}


class TestLeftOut:
    HOSTS = '[hosts.a]\nmachine = "pi"\n[hosts.b]\namong = ["pi", "box"]\n[hosts.c]\n'

    def test_hosts_that_may_be_elsewhere_are(self, read):
        asked = topology(read, self.HOSTS)
        assert left_out(asked, ()) is asked
        gone = left_out(asked, ["box", "desk"])
        assert candidates(gone) == {"a": ("pi",), "b": ("pi",), "c": ("local", "pi")}

    @pytest.mark.parametrize(
        ("names", "host", "named"), [(["pi"], "a", "pi"), (["box", "pi"], "b", "pi, box")]
    )
    def test_those_that_may_not_are_refused(self, read, names, host, named):
        hosts = self.HOSTS if host == "a" else self.HOSTS.replace('machine = "pi"', "")
        asked = topology(read, hosts)
        with pytest.raises(PlanError) as caught:
            left_out(asked, names)
        assert caught.value.where == f"host {host}"
        assert caught.value.reason == f"may only be on machine {named}, which is left out"


class TestLinks:
    def test_hosts_of_a_link_are_on_machines_that_can_have_one(self, read):
        """`pi` has no tunnels at all; `desk` none over UDP."""

        def barred(one: str, other: str, by: str) -> str:
            if "pi" in (one, other):
                return "pi: no tunnels"
            return "desk: no UDP" if by == "udp" and "desk" in (one, other) else ""

        hosts = '[hosts.a]\nmachine = "local"\n[hosts.b]\namong = ["pi", "desk"]\n[hosts.c]\n'
        there = grounds(*FOUR.infos.values(), barred=barred)
        found = house(topology(read, hosts, CHAIN), there)
        assert found.machines["b"] == "desk"
        why = "can have no link with a, which is on local: pi: no tunnels"
        assert found.reasons()[1].others["pi"] == why
        udp = CHAIN.replace('delay = "5ms"', 'delay = "5ms"\ntunnel = "udp"')
        with pytest.raises(PlacementError, match=r"host b: .*on local: desk: no UDP"):
            house(topology(read, hosts, udp), there)


class TestTogetherWithModules:
    def test_neither_names_where_it_is(self, read):
        """The module that wants arm64 takes a host there; the other stays where it talks to."""
        text = (
            '[defaults.host]\namong = "*"\n[hosts.a]\n[hosts.b]\n'
            '[[links]]\nbetween = ["a", "b"]\ndelay = "5ms"\n'
            '[modules.x]\ncommand = ["true"]\non = { arch = "arm64" }\n'
            '[modules.y]\ncommand = ["true"]\napart = "x"\non = { label = "gpu" }\n'
            '[[streams]]\nfrom = "x.o"\nto = "y.i"\n'
        )
        asked = topology(read, text)
        hosting = arrange(asked, FOUR)
        made = plan(
            asked, current=None, runtime_default="process", blobs={}, run="r", hosting=hosting,
            reached=frozenset(FOUR.infos), arches={n: i.arch for n, i in FOUR.infos.items()},
        )  # fmt: skip
        seats = {m.name: hosting.machines[m.host] for m in made.spec.modules}
        assert seats == {"x": "pi", "y": "box"}
        assert made.unsupported == ()


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "line", "says"),
        [
            ("[hosts.a]\ncpu = 64\n", 3, "host a: fits on no machine (local has 4 of 64 cores"),
            ("[hosts.a]\n[hosts.b]\ncount = 3\ncpu = 3\n", 4, "host b-2: fits on no machine"),
            (
                '[hosts.a]\ncpu = 1\n[hosts.b]\n[modules.x]\ncommand = ["true"]\ncpu = 2\n'
                'runtime = "process"\namong = "a"\n', 6,
                "module x: fits on no host (a has 1 of 2 cores free; b isn't",
            ),
        ],
    )  # fmt: skip
    def test_with_file_and_line(self, read, tmp_path, text, line, says):
        asked = read(f'name = "m"\n\n{text}')
        with pytest.raises(PlanError) as caught:
            plan(
                asked, current=None, runtime_default="process", blobs={}, run="r",
                hosting=house(asked, grounds(info("local"))),
            )  # fmt: skip
        error = locate(caught.value, asked)
        assert error.at.endswith(f"mesh.toml:{line}")
        assert f"mesh.toml:{line}: {says}" in str(error)

    def test_of_a_link(self, read):
        asked = read(
            'name = "m"\n[hosts.a]\n[hosts.b]\n[[links]]\nbetween = ["a", "b"]\n[[links]]\n'
            'name = "x"\nbetween = ["a", "b"]\n'
        )
        assert locate(PlanError("link x", "can't be"), asked).at.endswith("mesh.toml:6")
        assert locate(PlanError("mesh m", "can't be"), asked).at == ""

    @pytest.mark.parametrize(
        ("hosts", "says"),
        [
            ('[hosts.a]\namong = "pj"', "unknown machine `pj`"),
            ('[hosts.a]\nmachine = "pi"\namong = "*"', "goes not together with `machine`"),
            ('[hosts.a]\nbeside = "z"', "unknown host `z`"),
            (
                '[hosts.a]\nmachine = "pi"\n[hosts.b]\nmachine = "box"\nbeside = "a"',
                "`b` is on `box`, `a` on `pi`",
            ),
            (
                '[hosts.a]\nmachine = "pi"\n[hosts.b]\nmachine = "pi"\napart = "a"',
                "`b` and `a` are both on pi",
            ),
        ],
    )
    def test_what_makes_no_sense_is_said(self, problems, hosts, says):
        found = problems(f'name = "m"\n{SITE}{hosts}\n')
        assert any(says in str(error) for error in found), [str(error) for error in found]
