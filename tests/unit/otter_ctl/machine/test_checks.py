"""What a machine says of itself -> what is fine, what is missing, what to do."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent import api
from otter_ctl.cli.tables import print_table
from otter_ctl.errors import RemoteError
from otter_ctl.machine.checks import Seen, checks, usable
from otter_ctl.machine.facts import Facts, Python, parse
from otter_ctl.machine.installing import plan_add, plan_container
from otter_ctl.machine.wheelhouse import fetch, tags

SAID = """\
user=alice
uid=1000
groups=alice sudo
hostname=pi
system=Linux
arch=aarch64
kernel=6.6.20
libc=glibc 2.36
os=debian 12
cpus=4
memory_kib=8000000
free_kib=20000000
systemd=yes
root=password
python=/usr/bin/python3 3.9.2 linux-aarch64 venv
python=/usr/bin/python3.11 3.11.2 linux-aarch64 venv
tun=yes
cgroup=v2
vxlan=yes
htb=unknown
netem=no
nftables=yes
tool=apt-get
docker=
release=0.1.0-aaaaaaaa
wheel=numpy-1.whl
end=yes
"""


def facts(**changes: object) -> Facts:
    found = parse(SAID)
    assert found is not None
    return replace(found, **changes)  # type: ignore[arg-type]


def info() -> api.Info:
    return api.Info(
        agent="a1", version="0.1.0", api_version=api.API_VERSION, pid=7, root="/", machine="pi",
        cpus=4, memory_bytes=1, arch="aarch64", kernel="6", cgroup="v2", runtimes=(),
    )  # fmt: skip


def seen(own: Facts, info_: api.Info | None = None, offset: float | None = 0.0) -> Seen:
    return Seen(own, offset, 0.01, info_, "none there", "0.1.0-aaaaaaaa", "0.1.0")


def by_name(what: Seen) -> dict[str, tuple[bool | None, str, str]]:
    return {c.name: (c.ok, c.detail, c.todo) for c in checks("pi", what)}


def test_the_first_python_that_is_new_enough_is_taken() -> None:
    python = facts().python
    assert python is not None
    assert python.path == "/usr/bin/python3.11"
    assert by_name(seen(facts()))["python"][0] is True


def test_a_python_that_is_too_old_is_named_with_what_to_install() -> None:
    ok, detail, todo = by_name(seen(facts(pythons=facts().pythons[:1])))["python"]
    assert ok is False
    assert "3.9.2 at /usr/bin/python3" in detail
    assert "apt-get install" in todo


@pytest.mark.parametrize(
    ("system", "packages"),
    [
        ("debian 13", "apt-get install python3;"),
        ("debian 12", "apt-get install python3;"),
        ("debian", "apt-get install python3;"),  # testing, sid
        ("debian 11", ""),
        ("ubuntu 24.04", "apt-get install python3;"),
        ("ubuntu 22.04", "add-apt-repository ppa:deadsnakes/ppa"),
        ("ubuntu 20.04", ""),  # also JetPack 5
        ("linuxmint 21", "apt-get install python3, if that is 3.11 or newer;"),
        ("alpine 3.20", "install Python 3.11"),
    ],
)
def test_of_packages_only_those_are_named_that_the_system_has(system: str, packages: str) -> None:
    tools = frozenset({"apk" if "alpine" in system else "apt-get"})
    found = facts(pythons=facts().pythons[:1], os=system, tools=tools)
    todo = by_name(seen(found))["python"][2]
    brings = "bring one along: otterctl machine add pi --python FILE"
    assert brings in todo
    assert todo.startswith(packages or brings)


def test_another_build_of_the_same_version_is_another_otter() -> None:
    ok, detail, todo = by_name(seen(facts(release="0.1.0-bbbbbbbb"), info()))["otter"]
    assert (ok, todo) == (False, "otterctl machine upgrade pi")
    assert detail == "0.1.0-bbbbbbbb, this otterctl is 0.1.0-aaaaaaaa"


@pytest.mark.parametrize(
    ("is_so", "log"),
    [
        ({"root": "root"}, "ssh -F f pi journalctl -u otter-agent -n 50"),
        ({"root": "sudo"}, "ssh -t -F f pi sudo journalctl -u otter-agent -n 50"),
        ({"systemd": False}, "ssh -F f pi tail -n 50 /var/log/otter-agent.log"),
        (
            {"container": "0.1.0-aaaaaaaa", "release": ""},
            "ssh -F f pi docker logs --tail 50 otter-agent",
        ),
    ],
)
def test_where_no_agent_answers_its_log_is_named(is_so: dict[str, object], log: str) -> None:
    silent = replace(seen(facts(**is_so)), ssh="ssh -F f pi")
    assert by_name(silent)["agent"] == (False, "none there", f"see its log: {log}")
    bare = replace(silent, facts=facts(release="", container=""))
    assert by_name(bare)["agent"][2] == "otterctl machine add pi"


def test_a_ready_machine_is_usable_whatever_is_only_worth_knowing() -> None:
    found = checks("pi", seen(facts(), info(), offset=12.0))
    assert usable(found)
    states = {check.name: check.ok for check in found}
    assert states["netem"] is states["htb"] is states["clock"] is states["docker"] is None
    assert not usable(checks("pi", seen(facts())))


def test_what_only_some_meshes_need_keeps_none_away() -> None:
    """Hosts without budgets run without control groups, links between machines go over UDP."""
    bare = seen(facts(cgroup="none", features={"vxlan": "no", "tun": "yes"}), info())
    assert usable(checks("pi", bare))
    told = by_name(bare)
    assert told["cgroups"][0] is told["vxlan"][0] is None
    assert "ask for no cpu and memory" in told["cgroups"][2]
    assert "over UDP" in told["vxlan"][2]


@pytest.mark.parametrize(
    ("arch", "bits"), [("aarch64", 32), ("armv7l", 32), ("armv6l", 0)],
)  # fmt: skip
def test_a_32_bit_system_is_refused_before_anything_is_fetched(arch: str, bits: int) -> None:
    """Raspberry Pi OS (32-bit) has had a 64-bit kernel since 2023: `uname -m` says aarch64."""
    found = parse(SAID.replace("arch=aarch64", f"arch={arch}\nbits={bits}"))
    assert found is not None
    ok, detail, todo = by_name(seen(found))["system"]
    assert (ok, todo) == (
        False,
        "install the 64-bit system there, such as Raspberry Pi OS (64-bit)",
    )
    assert f"its system is a 32-bit one ({arch})" in detail
    with pytest.raises(RemoteError, match="its system is a 32-bit one"):
        plan_add("pi", found, docker=False)
    with pytest.raises(RemoteError, match="its system is a 32-bit one"):
        plan_container("pi", replace(found, docker_usable=True, release=""))


def test_64_bits_are_fine() -> None:
    found = parse(SAID.replace("end=yes", "bits=64\nend=yes"))
    assert found is not None
    assert by_name(seen(found))["system"][0] is True
    assert by_name(seen(facts()))["system"][0] is True  # it may not say


PI = "controllers=cpuset cpu io pids\nend=yes\n"
"""Of a Raspberry Pi, whose firmware has the memory controller turned off."""


def test_a_raspberry_pi_without_its_memory_controller_is_told_what_to_boot_with() -> None:
    bare = parse(SAID.replace("end=yes\n", PI))
    assert bare is not None
    ok, detail, todo = by_name(seen(bare))["cgroups"]
    assert (ok, detail) == (None, "v2 lacks memory")
    assert "/boot/firmware/cmdline.txt with cgroup_enable=memory cgroup_memory=1" in todo
    whole = parse(SAID.replace("end=yes\n", PI.replace("io", "io memory")))
    assert whole is not None
    assert by_name(seen(whole))["cgroups"] == (True, "v2", "")
    assert by_name(seen(facts()))["cgroups"][0] is True  # an earlier probe says nothing of them


def test_of_control_groups_the_agents_word_counts() -> None:
    """It has looked for all that it needs, where the machine's files only say so much."""
    why = "cgroups: find this machine: cgroup v2 at /sys/fs/cgroup lacks memory; boot with …"
    none = (api.Feature(name="cgroup", usable=False, detail=why),)
    there = (api.Feature(name="cgroup", usable=True, detail="v1"),)
    told = by_name(seen(facts(), msgspec.structs.replace(info(), features=none)))["cgroups"]
    assert told == (None, why, "meshes that ask for no cpu and memory need none")
    told = by_name(seen(facts(), msgspec.structs.replace(info(), features=there)))["cgroups"]
    assert told == (True, "v1", "")


def test_without_vxlan_links_go_another_way() -> None:
    none = facts(features={**facts().features, "vxlan": "no"})
    ok, _, todo = by_name(seen(none, info()))["vxlan"]
    assert ok is None
    assert "over UDP" in todo


def test_without_htb_it_says_what_there_is_not() -> None:
    none = facts(features={**facts().features, "htb": "no"})
    ok, detail, todo = by_name(seen(none, info()))["htb"]
    assert ok is None
    assert "`network` of hosts and modules" in detail
    assert "no `network`" in todo


def test_lines_that_are_no_probe_are_told_apart() -> None:
    assert parse("") is None
    assert parse(SAID.replace("end=yes\n", "")) is None
    assert parse("This account is not available.\n") is None


@pytest.mark.slow
@given(st.text(max_size=200))
def test_whatever_a_machine_prints_is_read_without_an_error(text: str) -> None:
    parse(text)
    found = parse(f"{text}\nend=yes\n")
    if found is not None:
        checks("pi", seen(found))


def test_wheels_are_chosen_by_the_machine() -> None:
    own = facts()
    assert own.python is not None
    version, platforms = tags(own, own.python)
    assert version == "3.11"
    assert platforms[0] == "manylinux_2_36_aarch64"
    assert "manylinux2014_aarch64" in platforms
    assert tags(facts(libc=""), own.python)[1][0].startswith("musllinux")


def test_what_a_machine_says_is_nothing_that_a_terminal_obeys(capsys) -> None:
    """It is shown before somebody says yes."""
    found = parse("user=al\x1b[2Jice\nos=debian\x1b]52;c;eA==\x07 12\nend=yes\n")
    assert found is not None
    assert (found.user, found.os) == ("al\\x1b[2Jice", "debian\\x1b]52;c;eA==\\x07 12")
    print_table(("NAME", "WHY"), [("lab1", "gone\x1b[1A\x9b2K"), ("lab2", None)])
    assert not {"\x1b", "\x9b"} & {*capsys.readouterr().out}


@pytest.mark.parametrize("arch", ["../../../victim", "", "a/b", "x86 64"])
def test_a_machine_names_no_folder_of_ours(tmp_path, monkeypatch, arch) -> None:
    """Its kind of processor is part of one in the cache, which is removed where it isn't whole."""
    monkeypatch.setenv("OTTER_CACHE", str(tmp_path / "cache"))
    seen = parse(SAID.replace("arch=aarch64", f"arch={arch}"))
    assert seen is not None
    with pytest.raises(RemoteError, match="no packages are made for"):
        fetch("pi", seen, Python("/usr/bin/python3", (3, 11, 2), "linux", venv=True))
    assert not (tmp_path / "cache").exists()
