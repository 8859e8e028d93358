"""An ordinary user's meshes, on this machine's own kernel: in namespaces, links by tun."""

from __future__ import annotations

import os
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.ordinary import Ordinary, ordinary
from helpers.otter import BIN, wait_for
from helpers.pings import round_trip_s
from kernel.guest import parts

pytestmark = pytest.mark.netns


def mesh(port: int) -> str:
    return f"""
name = "mine"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
delay = "20ms"
[modules.near]
host = "a"
command = ["sh", "-c", "echo I am $(id -u); sleep 4321 & exec sleep 1234"]
[modules.far]
host = "b"
command = ["python3", "-m", "http.server", "8000"]
ready = {{ tcp = 8000 }}
publish = {{ port = 8000, as = {port}, at = "a" }}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def possible(require) -> None:
    """That the kernel lets an ordinary user have namespaces: else there is nothing to test."""
    tools = all(shutil.which(tool) for tool in ("setpriv", "unshare", "nsenter"))
    require("netns", os.geteuid() == 0 and tools, "not root, or no util-linux")
    with ordinary() as user:
        done = user.sh("unshare", "-Urnm", "true", code=None)
    require("netns", done.returncode == 0, f"no user namespaces: {done.stderr}")


@pytest.fixture
def user(possible: None) -> Iterator[Ordinary]:
    with ordinary() as one:
        yield one


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def owner(possible: None, port: int) -> Iterator[Ordinary]:
    """A user whose mesh is there: one for all tests that leave it whole."""
    with ordinary() as one:
        assert "2 modules ready" in one("apply", one.topology(mesh(port))).stdout
        yield one


def test_a_mesh_of_ones_own(owner: Ordinary, port: int) -> None:
    user = owner
    status = user.json("status")
    (machine,) = status["machines"]
    assert (machine["user"], status["owner"]) == (user.name, user.name)
    assert {line.split(":")[0] for line in machine["lacks"]} >= {"budgets", "gateways", "docker"}
    assert f"without root, in namespaces of {user.name}" in user("status").stdout
    assert {link["driver"] for link in status["links"]} == {"tun"}
    agents = Path(f"/proc/{user.pid_of('serve')}/ns/net")  # the machine's: builds fetch packages
    assert agents.readlink() == Path("/proc/self/ns/net").readlink()
    wait_for(lambda: "I am 0" in user("logs", "near").stdout, "it says who it is")
    ping = ("exec", "near", "--", "ping", "-c3", "-i0.1", "far")
    assert round_trip_s(user(*ping).stdout) >= 0.040
    user("shape", "link", "radio", "--delay", "60ms")
    assert round_trip_s(user(*ping).stdout) >= 0.120
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
        assert answer.status == 200
    assert len(user.inside("ls", "/run/netns").split()) == 2


def test_the_agent_is_killed_and_the_next_adopts_what_runs(owner: Ordinary, port: int) -> None:
    user = owner
    before = {name: m["pid"] for name, m in user.modules().items()}
    user.kill("serve")
    user("apply", user.topology(mesh(port)))
    after = user.modules()
    assert {name: m["pid"] for name, m in after.items()} == before
    assert {m["restarts"] for m in after.values()} == {0}
    round_trip_s(user("exec", "near", "--", "ping", "-c1", "far").stdout)


def test_without_groups_a_module_ends_with_all_that_it_started(owner: Ordinary) -> None:
    def sleeping() -> set[int]:
        return {pid for pid, words in owner.processes().items() if "4321" in words}

    first = sleeping()
    assert len(first) == 1
    owner.kill("otter_agent.launcher")  # the next one adopts the module
    owner("restart", "near")
    wait_for(lambda: len(sleeping()) == 1 and not sleeping() & first, f"{first}, {sleeping()}")


def test_the_holder_is_killed_with_the_agent_and_all_begins_anew(user: Ordinary) -> None:
    """Nobody can enter its namespaces any more: what is in them ends, as if by a reboot."""
    file = user.topology(mesh(free_port()))
    user("apply", file)
    before = set(user.processes())
    user.kill("serve")
    user.kill("otter_agent.ground.holder")
    user("apply", file)
    assert not before & set(user.processes())
    ready = [m["state"] for m in user.modules().values()]
    assert ready == ["ready", "ready"]
    round_trip_s(user("exec", "near", "--", "ping", "-c1", "far").stdout)


def test_others_can_not_reach_it(owner: Ordinary) -> None:
    user = owner
    reach = f"import socket; socket.socket(socket.AF_UNIX).connect('{user.run}/agent.sock')"
    assert user.sh("python3", "-c", reach).returncode == 0
    connect = (
        "python3",
        "-c",
        reach.replace("import", "import sys; sys.tracebacklimit = 0; import"),
    )
    refused = user.sh(*connect, code=1, uid=user.uid + 1)
    assert "Permission denied" in refused.stderr


def test_budgets_are_refused_by_name_unless_allowed(user: Ordinary) -> None:
    text = mesh(free_port()).replace("[hosts.a]", "[hosts.a]\ncpu = 0.5")
    planned = user("plan", user.topology(text), code=1)
    refused = user("apply", user.topology(text), code=1)
    for said in (planned.stderr, refused.stderr):
        assert "host a can't have the cpu or memory asked" in said
        assert "allow_degraded" in said
    user("apply", user.topology(f"allow_degraded = true\n{text}"))
    host = user.json("status")["hosts"][0]
    assert (host["asked"]["cpu"], host["in_force"]["cpu"]) == (0.5, None)


MOUNTS = """
name = "mine"
[hosts.a]
[modules.m]
runtime = "process"
host = "a"
secrets = ["KEY"]
mounts = { "/otter-data" = { from = "%s", readonly = false } }
command = ["sh", "-c", "cat /otter-data/in /run/secrets/KEY; exec sleep 1000"]
"""


def test_mounts_and_secrets(user: Ordinary) -> None:
    """Also at a new name in `/`, which isn't the user's."""
    data, settings = user.home / "data", user.home / ".config/otter/agent.toml"
    user.sh("sh", "-c", f"mkdir {data}; echo shown >{data}/in; mkdir -p {settings.parent}")
    settings.write_text(f'mount_roots = ["{data}"]\n')
    user.env["KEY"] = "sesame"
    user("apply", user.topology(MOUNTS % data))

    def said() -> list[str]:
        return [line.split("| ")[1] for line in user("logs").stdout.splitlines()]

    wait_for(lambda: len(said()) >= 2, "it has read both")
    assert said() == ["shown", "sesame"]
    user("exec", "m", "--", "sh", "-c", "echo more >/otter-data/out")
    assert (data / "out").stat().st_uid == user.uid


def test_doctor_tells_what_there_is_without_an_agent(user: Ordinary) -> None:
    checks = {c["name"]: c for c in user.json("doctor")["checks"]}
    assert user.name in checks["privileges"]["detail"]
    assert checks["runtime process"]["ok"] is True
    assert checks["links tun"]["ok"] is True
    assert checks["cgroups"]["ok"] is None
    assert "without root" in checks["runtime docker"]["detail"]
    assert user.processes() == {}


def test_without_tun_one_line_says_so(possible: None) -> None:
    with ordinary(tun="600") as user:
        (tun,) = [c for c in user.json("doctor")["checks"] if c["name"] == "links tun"]
        assert tun["ok"] is not True
        assert "sudo chmod 0666 /dev/net/tun" in tun["detail"]


def test_where_parts_of_sys_are_hidden(possible: None) -> None:
    """As in a container: the kernel gives a user namespace no fresh /sys then."""
    with ordinary(setup="mount -t tmpfs otter-test /sys/firmware") as user:
        user("apply", user.topology(mesh(free_port())))
        assert user("exec", "near", "--", "ls", "/sys/fs/cgroup").stdout == ""
        user("exec", "near", "--", "sh", "-c", "! mkdir /sys/here 2>/dev/null")


def test_who_is_not_there_is_not_entered(user: Ordinary) -> None:
    nobody = user.sh(BIN / "otter-agent", "enter", "--", "true", code=1)
    assert nobody.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def uidmap() -> Path:
    """A folder with newuidmap and newgidmap, set-uid root as their package installs them."""
    if found := shutil.which("newuidmap"):
        return Path(found).parent
    cache = parts.default_cache()
    cache.mkdir(parents=True, exist_ok=True)
    unpacked = parts._made(cache / "uidmap", lambda at: parts._unpack("uidmap", at))
    return unpacked / "usr/bin"


def test_further_ids_where_the_machine_gives_the_user_some(possible: None, uidmap: Path) -> None:
    give = 'for f in subuid subgid; do echo "${line%%:*}:700000:1000" >$hold/$f; touch /etc/$f;'
    with ordinary(setup=f"{give} mount --bind $hold/$f /etc/$f; done", set_uid=True) as user:
        tools = user.home / "bin"
        tools.mkdir()
        for name in ("newuidmap", "newgidmap"):
            shutil.copy(uidmap / name, tools)
            (tools / name).chmod(0o4755)
        user.env["PATH"] = f"{tools}:{user.env['PATH']}"
        user("apply", user.topology(mesh(free_port())))
        maps = [line.split() for line in user.inside("cat", "/proc/self/uid_map").splitlines()]
        assert maps == [["0", str(user.uid), "1"], ["1", "700000", "1000"]]
        assert user("exec", "-w", "/", "--user", "12:34", "near", "--", "id", "-u").stdout == "12\n"


def test_the_machines_agent_is_used_where_it_lets_users_in(possible: None) -> None:
    """And the user's own, as soon as that is there."""
    own = "for d in /run /var/lib /etc/otter; do mkdir -p $d; mount -t tmpfs otter-test $d; done"
    with ordinary(setup=own) as user:  # nobody made /run/netns there

        def agent() -> str:
            (check,) = [c for c in user.json("doctor")["checks"] if c["name"] == "agent"]
            return str(check["detail"])

        assert agent() == f"none answers at {user.run}/agent.sock"
        with user.machines_agent():
            assert "/run/otter/agent.sock" in agent()
            assert user.json("ls") == []
        user("apply", user.topology(mesh(free_port())))
        with user.machines_agent():
            assert f"at {user.run}/agent.sock" in agent()
