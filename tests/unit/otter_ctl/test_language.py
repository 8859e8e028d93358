"""Every key of the format parses and plans: profiles, machines, mounts, shares, transports."""

from __future__ import annotations

import re

import pytest

from net.datagram.options import MAX_DEADLINE_S
from net.links.spec import LinkSpec
from otter_agent import api
from otter_ctl.errors import PlanError, TopologyErrors
from otter_ctl.planning.machines import assign
from otter_ctl.planning.resolve import plan
from otter_ctl.planning.unbuilt import refuse_unsupported
from otter_ctl.planning.uploads import collect
from otter_ctl.topology import load, streams
from otter_ctl.topology import profiles as profiles_file
from otter_ctl.topology.model import Gpu, Io, Machine, Mount, On, Publish
from otter_ctl.topology.profiles import profiles

TOP = 'name = "m"\n[hosts.a]\n[hosts.b]\n'


def planned(topology, **more):
    return plan(
        topology, current=None, runtime_default="fake", blobs=collect(topology), run="r", **more
    )


# --- profiles ------------------------------------------------------------------------------------


def test_a_profile_gives_what_is_not_written(read):
    (host,) = read('name = "m"\n[hosts.a]\nprofile = "raspberry-pi-5"\nmemory = "1GiB"\n').hosts
    assert (host.cpu, host.memory_bytes, host.speed) == (4.0, 1 << 30, 0.3)
    assert host.profile == "raspberry-pi-5"


def test_what_is_nearer_wins(read):
    """Own key, own profile, default, the default's profile."""
    text = (
        'name = "m"\n[defaults.host]\nprofile = "desktop"\ncpu = 1\nmemory = "64MiB"\n'
        '[hosts.plain]\n[hosts.pi]\nprofile = "raspberry-pi-4"\n[hosts.own]\ncpu = 2\n'
    )
    plain, pi, own = read(text).hosts
    assert (plain.cpu, plain.memory_bytes, plain.speed) == (1.0, 64 << 20, 1.0)
    assert (pi.cpu, pi.memory_bytes, pi.speed) == (4.0, 4 << 30, 0.12)
    assert own.cpu == 2.0


def test_a_links_profile_has_two_ways(read):
    (link,) = read(f'{TOP}[[links]]\nbetween = ["a", "b"]\nprofile = "4g"\nrate = "9mbit"\n').links
    assert link.forward == LinkSpec(rate_bps=9e6, delay_s=0.0105)
    assert link.reverse == LinkSpec(rate_bps=9e6, delay_s=0.0105)
    (plain,) = read(f'{TOP}[[links]]\nbetween = ["a", "b"]\nprofile = "4g"\n').links
    assert (plain.forward.rate_bps, plain.reverse.rate_bps) == (7.6e6, 29.5e6)


def test_the_way_back_may_be_another_technology(read):
    text = (
        f'{TOP}[defaults.link]\nqueue = "50ms"\n[[links]]\nbetween = ["a", "b"]\n'
        'profile = "dsl"\nreverse = { profile = "starlink", rate = "1mbit" }\n'
    )
    (link,) = read(text).links
    assert link.forward == LinkSpec(rate_bps=384e3, delay_s=0.025, queue_s=0.05)
    assert link.reverse == LinkSpec(rate_bps=1e6, delay_s=0.025, jitter_s=0.01, queue_s=0.05)


@pytest.mark.parametrize("sort", ["hosts", "links"])
def test_every_profile_has_numbers_and_their_sources(sort, read):
    for name, profile in profiles(sort).items():
        assert profile.values, name
        assert all(len(source) > 15 for source in profile.source), name
        tables = {
            "hosts": f'name = "m"\n[hosts.a]\nprofile = "{name}"\n',
            "links": f'{TOP}[[links]]\nbetween = ["a", "b"]\nprofile = "{name}"\n',
        }
        read(tables[sort])


def test_what_a_topology_does_not_name_is_not_read(read, monkeypatch):
    monkeypatch.setattr(profiles_file, "profiles", None)
    read(TOP)


# --- machines ------------------------------------------------------------------------------------

SITE = """\
[machines.gpu-box]
ssh = "me@gpu.lab"
data = "10.0.0.7"
labels = ["gpu", "x86"]
[machines.jetson-3]
labels = ["jetson"]
[machines.local]
labels = ["desk"]
"""


def test_where_hosts_go(read):
    text = (
        f'{TOP}{SITE}[hosts.box]\nmachine = "gpu-box"\n[hosts.j]\non = {{ label = "jetson" }}\n'
        '[hosts.g]\non = { label = ["gpu", "x86"] }\n[hosts.d]\non = { label = "desk" }\n'
        '[hosts.arm]\non = { arch = "arm64" }\n'
    )
    topology = read(text)
    assert topology.machines[0] == Machine(
        name="gpu-box", ssh="me@gpu.lab", data="10.0.0.7", labels=("gpu", "x86")
    )
    assert topology.hosts[3].on == On(labels=("jetson",))
    where = {
        "a": "local", "b": "local", "box": "gpu-box", "j": "jetson-3", "g": "gpu-box",
        "d": "local", "arm": "local",
    }  # fmt: skip
    assert assign(topology, None) == where
    assert assign(topology, "aarch64") == where
    reached = "not asked"
    assert planned(topology, arch="x86_64").unsupported == (
        "host arm: asks for aarch64, this machine is x86_64",
        f"hosts box, g: machine gpu-box: {reached}",
        f"host j: machine jetson-3: {reached}",
    )


def test_another_architecture_is_told(read):
    topology = read(f'{TOP}[hosts.arm]\non = {{ arch = "arm64" }}\n')
    assert planned(topology, arch="x86_64").unsupported == (
        "host arm: asks for aarch64, this machine is x86_64",
    )
    assert planned(topology, arch="aarch64").unsupported == ()


def test_a_default_machine_gives_way_to_on(read):
    text = (
        f'{SITE}\n[defaults.host]\nmachine = "gpu-box"\n'
        '[hosts.a]\n[hosts.b]\non = { label = "desk" }\n'
    )
    hosts = read(f'name = "m"\n{text}').hosts
    assert [h.machine for h in hosts] == ["gpu-box", None]


def test_the_topology_wins_over_the_site_file(read, tmp_path):
    (tmp_path / "site.toml").write_text('[machines.x]\nssh = "a@b"\n[machines.y]\nssh = "y"\n')
    text = f'{TOP}[machines.x]\nssh = "c@d"\n[hosts.h]\nmachine = "x"\n[hosts.i]\nmachine = "y"\n'
    (tmp_path / "mesh.toml").write_text(text)
    found = load(tmp_path / "mesh.toml", site=tmp_path / "site.toml")
    assert {m.name: m.ssh for m in found.machines} == {"x": "c@d", "y": "y"}


def test_a_whole_machine_has_no_budget(read):
    text = 'name = "m"\n[defaults.host]\ncpu = 1\n[hosts.x]\nmachine = "local"\nwhole = true\n'
    (host,) = read(text).hosts
    assert (host.whole, host.cpu) == (True, None)
    assert planned(read(text)).unsupported == ()


# --- what is outside -------------------------------------------------------------------------

OUTSIDE = f"""\
overcommit = true
{TOP}[hosts.cloud]
gateway = true
[modules.m]
build = "asr"
host = "a"
secrets = ["TOKEN", "KEY", "TOKEN"]
devices = ["/dev/video0"]
publish = [
  {{ port = 80, as = 8080, at = "cloud", listen = "0.0.0.0" }},
  {{ port = 53, protocol = "udp" }},
]
[modules.m.mounts]
"/data" = {{ from = "/srv/x" }}
"/out" = {{ volume = "results" }}
"/ro" = {{ volume = "v", readonly = true }}
"/rw" = {{ from = "/srv/y", readonly = false }}
"""


def test_mounts_secrets_devices_ports_and_gateways(read):
    topology = read(OUTSIDE)
    (module,) = topology.modules
    assert module.mounts[0] == Mount(target="/data", source="/srv/x")
    assert module.publish[0] == Publish(port=80, listen_port=8080, at="cloud", listen="0.0.0.0")
    spec = planned(topology).spec
    api.check(spec)
    (m,) = spec.modules
    assert m.mounts == (
        api.Mount(target="/data", source="/srv/x"),
        api.Mount(target="/rw", source="/srv/y", readonly=False),
    )
    assert m.volumes == (
        api.VolumeMount(target="/out", volume="results"),
        api.VolumeMount(target="/ro", volume="v", readonly=True),
    )
    assert (m.secrets, m.devices) == (("KEY", "TOKEN"), ("/dev/video0",))
    assert m.publish == (
        api.Publish(port=53, listen_port=53, host="a", protocol="udp"),
        api.Publish(port=80, listen_port=8080, host="cloud", listen="0.0.0.0"),
    )
    assert spec.overcommit
    assert [h.gateway for h in spec.hosts] == [False, False, True]


def test_the_order_in_the_file_restarts_nothing(read):
    first = planned(read(OUTSIDE)).spec
    turned = OUTSIDE.replace('"TOKEN", "KEY", "TOKEN"', '"KEY", "TOKEN"')
    assert planned(read(turned)).spec == first


def test_addresses_come_from_the_pool(read):
    text = f'{TOP}[network]\npool = "10.9.0.0/22"\n'
    first = planned(read(text)).spec
    assert [h.block for h in first.hosts] == ["10.9.0.0/24", "10.9.1.0/24"]
    moved = plan(read(TOP), current=first, runtime_default="fake", blobs={}, run="r").spec
    assert [h.block for h in moved.hosts] == ["100.64.0.0/24", "100.64.1.0/24"]
    many = text + "".join(f"[hosts.h{i}]\n" for i in range(3))
    with pytest.raises(PlanError, match=r"the pool 10\.9\.0\.0/22 has no block left"):
        planned(read(many))


# --- what nothing acts on yet ----------------------------------------------------------------

SCARCE = f"""\
{TOP}
[hosts.g]
profile = "raspberry-pi-5"
gpu = {{ memory = "4GiB", share = "50%" }}
io = {{ read = "50MB/s", write = "20MB/s", write_iops = 100 }}
[hosts.many]
count = 30
speed = 0.5
[[links]]
between = ["many-*", "a"]
profile = "wifi-5"
[modules.m]
build = "asr"
host = "g"
gpu = {{ memory = "1GiB" }}
[modules.n]
build = "asr"
host = "g"
"""


def test_scarcity_is_warned_of_by_name_and_runs(read):
    topology = read(SCARCE)
    assert topology.hosts[2].gpu == Gpu(memory_bytes=4 << 30, share=0.5)
    assert topology.hosts[2].io == Io(
        read_bytes_per_s=50_000_000, write_bytes_per_s=20_000_000, write_iops=100
    )
    made = planned(topology)
    assert made.warnings == ()
    assert made.unsupported == ()
    refuse_unsupported(made)
    (pi,) = [host for host in made.spec.hosts if host.name == "g"]
    assert (pi.speed, pi.read_bytes_per_s, pi.write_iops) == (0.3, 50_000_000, 100)
    assert made.speeds[0].startswith("host g: 4 cores of speed 0.3: how fast this machine's are")
    assert len(made.speeds) == 2  # those of a count together


@pytest.mark.slow
def test_hundreds_of_warnings_are_counted(read):
    text = 'name = "m"\n[hosts.a]\n[hosts.b]\n[modules.n]\nbuild = "asr"\nhost = "b"\n'
    for i in range(300):  # there is no link, so neither way leads anywhere
        text += f'[modules.m{i}]\nbuild = "asr"\nhost = "a"\n'
        text += f'[[streams]]\nfrom = "m{i}.x"\nto = "n.x{i}"\n'
    warnings = [w for w in planned(read(text)).warnings if "no route" in w or "likewise" in w]
    assert len(warnings) == 9
    assert warnings[-1] == "and 592 more streams likewise"


STREAM = SCARCE + '[[streams]]\nfrom = "m.x"\nto = "n.y"\n'


def test_shared_memory_between_modules_of_one_host(read):
    text = (
        'name = "m"\n[hosts.a]\n[hosts.b]\n[modules.m]\nbuild = "asr"\nhost = "a"\n'
        '[modules.n]\nbuild = "asr"\nhost = "a"\n'
        '[[streams]]\nfrom = "m.x"\nto = "n.y"\ntransport = "shm"\ncopy = true\n'
    )
    made = planned(read(text))
    assert made.unsupported == ()
    api.check(made.spec)
    (end,) = made.spec.modules[0].streams_out
    assert (end.transport, end.copy, end.path) == ("shm", True, "")


def test_udp_delivers_at_most_once_and_has_keys_of_its_own(read):
    keys = 'transport = "udp"\nfec = "25%"\npartial = true\nrate = "50mbit"\ndeadline = "300ms"\n'
    made = planned(read(STREAM + keys))
    assert made.unsupported == ()
    (sender,) = (m for m in made.spec.modules if m.streams_out)
    (end,) = sender.streams_out
    assert (end.transport, end.delivery, end.deadline_s) == ("udp", "at-most-once", 0.3)
    assert (end.fec_ratio, end.partial, end.rate_bps) == (0.25, True, 50e6)
    api.check(made.spec)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('fec = "25%"', 'fec: goes only with transport = "udp"'),
        ("partial = true", 'partial: goes only with transport = "udp"'),
        ('transport = "udp"\ndelivery = "exactly-once"', "udp loses messages: only at-most-once"),
        ('transport = "udp"\ndeadline = "2min"', "deadline: is over the 60 s that udp keeps"),
    ],
)
def test_what_does_not_go_with_a_transport_is_said(read, keys, said):
    with pytest.raises(TopologyErrors, match=re.escape(said)):
        read(STREAM + keys + "\n")


def test_both_sides_know_how_long_a_datagram_may_take():
    assert streams.MAX_DEADLINE_S == MAX_DEADLINE_S


def test_defaults_hold_for_streams_too(read):
    text = f'{STREAM}[defaults.stream]\nqueue = 3\npolicy = "latest"\n'
    (stream,) = read(text).streams
    assert (stream.queue, stream.policy, stream.transport) == (3, "latest", "tcp")


def test_shared_memory_needs_one_host_also_where_the_planner_chose(read):
    text = (
        'name = "m"\n[hosts.a]\ncpu = 1\n[hosts.b]\ncpu = 1\n'
        '[modules.m]\nbuild = "asr"\ncpu = 1\n[modules.n]\nbuild = "asr"\ncpu = 1\n'
        '[[streams]]\nfrom = "m.x"\nto = "n.y"\ntransport = "shm"\n'
    )
    with pytest.raises(PlanError, match="shm joins modules of one host: they are on a and b"):
        planned(read(text))


def test_any_key_can_be_set(read):
    topology = read(
        SCARCE,
        "hosts.many.count=2",
        "links.many-*-a.rate=5mbit",
        'modules.m.secrets=["A"]',
        "modules.m.gpu.share=10%",
        "modules.m.ready.tcp=80",
        'modules.m.mounts."/d".volume=v',
        "modules.n.publish=[{port=1},{port=2}]",
        "hosts.g.on.arch=arm64",
        'network.pool="10.0.0.0/16"',
        "machines.x.ssh=me@x",
        "overcommit=true",
        "defaults.module.env.B=1",
    )
    m, n = topology.modules
    assert [h.name for h in topology.hosts][-2:] == ["many-1", "many-2"]
    assert {link.forward.rate_bps for link in topology.links} == {5e6}
    assert (m.secrets, m.ready.tcp, m.mounts[0].volume) == (("A",), 80, "v")
    assert m.gpu == Gpu(memory_bytes=1 << 30, share=0.1)
    assert (len(n.publish), n.env) == (2, {"B": "1"})
    assert (topology.pool, topology.overcommit) == ("10.0.0.0/16", True)
    assert topology.hosts[2].on == On(arch="aarch64")
    whole = read(SCARCE, 'links.many-*-a={between=["a","b"]}')
    assert [link.name for link in whole.links] == ["a-b"]
