"""Gateways, published ports and names, with the installed commands; both runtimes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator

import pytest
from helpers import outside
from helpers.byhand import free_port
from helpers.modules import free_ports
from helpers.otter import kill_within, wait_for

pytestmark = [pytest.mark.timed, pytest.mark.netns]

MESH = """
name = "{name}"
[defaults.module]
runtime = "process"
[hosts.phone]
[hosts.edge]
[hosts.cloud]
gateway = {gateway}
[[links]]
between = ["phone", "edge"]
[[links]]
between = ["edge", "cloud"]
[modules.web]
host = "phone"
command = ["python3", "-u", "-m", "http.server", "8000"]
ready = {{ tcp = 8000 }}
{publish}
[modules.client]
host = "phone"
command = ["sleep", "1000"]
"""

_LOOK_UP = """
import socket, sys, time
begin = time.monotonic()
try:
    print(socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)[0][4][0])
except OSError as error:
    print(type(error).__name__)
print(time.monotonic() - begin < 1.5)
"""


def mesh(name: str, publish: str = "", gateway: str = "true") -> str:
    return MESH.format(name=name, publish=publish, gateway=gateway)


def at_cloud(port: int) -> str:
    return f'publish = {{ port = 8000, as = {port}, at = "cloud" }}'


@pytest.fixture
def world() -> Iterator[None]:
    with outside.world():
        yield


def status_of(port: int, host: str = "127.0.0.1") -> bytes:
    """The first line that a web server answers."""
    with socket.create_connection((host, port), timeout=10) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.makefile("rb").readline()


def look_up(otter, name: str) -> list[str]:
    return otter("exec", "client", "--", "python3", "-c", _LOOK_UP, name).stdout.split()


_CALL = f"import socket; print(socket.create_connection(('{outside.THERE}', 7001), 9).recv(99))"


def test_out_through_the_gateway_and_in_through_a_published_port(shared_otter, world) -> None:
    otter, port = shared_otter, free_port()
    before = outside.machine()
    otter("apply", otter.topology(mesh("both", at_cloud(port))))
    called = otter("exec", "client", "--", "python3", "-c", _CALL).stdout
    assert called.strip() == repr(outside.HERE.encode() + b"\n")
    assert b"200" in status_of(port)
    address = next(h["address"] for h in otter.json("status")["hosts"] if h["name"] == "cloud")
    assert f"{address} - -" in otter("logs", "web").stdout  # who asked, as the module sees it

    (published,) = otter.modules("both")["web"]["published"]
    assert published == {
        "port": 8000, "listen_port": port, "host": "cloud", "protocol": "tcp",
        "listen": "127.0.0.1",
    }  # fmt: skip
    assert f"127.0.0.1:{port}/tcp" in otter("status").stdout
    assert [h["name"] for h in otter.json("status")["hosts"] if h["gateway"]] == ["cloud"]

    after = outside.machine()
    assert after.pop("listening") - before.pop("listening") == {("tcp", f"127.0.0.1:{port}")}
    assert after == before
    otter("destroy", "--yes", "--no-fetch")
    with pytest.raises(ConnectionRefusedError):
        status_of(port)
    assert not any(p for p in otter.processes() if "outside" in _words(p))


def test_without_a_gateway_outside_names_fail_at_once_and_the_meshs_own_resolve(
    shared_otter,
) -> None:
    otter = shared_otter
    otter("apply", otter.topology(mesh("closed", gateway="false")))
    assert look_up(otter, "web") == [otter.modules("closed")["web"]["address"], "True"]
    assert look_up(otter, "example.com") == ["gaierror", "True"]
    assert "127.0.0.1" in otter("exec", "client", "--", "cat", "/etc/resolv.conf").stdout

    # A gateway that comes later is known to modules that run already.
    pids = {m: s["pid"] for m, s in otter.modules("closed").items()}
    otter("apply", otter.topology(mesh("closed", gateway="true")))
    assert "169.254.53.53" in otter("exec", "client", "--", "cat", "/etc/resolv.conf").stdout
    assert look_up(otter, "web")[1] == "True"
    assert {m: s["pid"] for m, s in otter.modules("closed").items()} == pids


def test_a_taken_port_is_told_by_plan_and_apply_with_who_has_it(shared_otter) -> None:
    otter, port = shared_otter, free_port()
    otter("apply", otter.topology(mesh("first", at_cloud(port), "false")))
    second = otter.topology(mesh("second", at_cloud(port), "false"), "second.toml")
    who = f"tcp port {port} of 127.0.0.1 is taken by mesh first (module web)"
    assert who in otter("plan", second, code=1).stderr
    assert who in otter.json("plan", second, code=1)["refused"][0]
    assert who in otter("apply", second, code=1).stderr
    assert [m["mesh"] for m in otter.json("ls")] == ["first"]

    with socket.create_server(("127.0.0.1", 0)) as mine:
        taken = mine.getsockname()[1]
        change = otter.topology(mesh("first", at_cloud(taken), "false"))
        assert f"(pid {os.getpid()})" in otter("apply", change, code=1).stderr
    assert b"200" in status_of(port), "what was published stays so"


def test_published_ports_change_live(shared_otter) -> None:
    otter, (one, two) = shared_otter, free_ports(2)
    otter("apply", otter.topology(mesh("live", at_cloud(one), "false")))
    pid = otter.modules("live")["web"]["pid"]
    otter("apply", otter.topology(mesh("live", at_cloud(two), "false")))
    assert b"200" in status_of(two)
    with pytest.raises(ConnectionRefusedError):
        status_of(one)
    otter("apply", otter.topology(mesh("live", "", "false")))
    with pytest.raises(ConnectionRefusedError):
        status_of(two)
    assert otter.modules("live")["web"]["pid"] == pid


def test_ports_outlive_the_agent_and_come_back_when_their_relay_is_killed(otter) -> None:
    port = free_port()
    otter.serve()
    otter("apply", otter.topology(mesh("kept", at_cloud(port), "false")))
    (relay,) = [p for p in otter.processes() if "otter_agent.network.outside" in _words(p)]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET / HT")
        otter.kill_agent()
        client.sendall(b"TP/1.0\r\n\r\n")
        assert b"200" in client.makefile("rb").readline()
    assert b"200" in status_of(port)
    otter.serve()
    otter.wait_state("kept", "web", "ready")
    assert _alive_relays(otter) == [relay]
    os.kill(relay, signal.SIGKILL)

    def answers() -> bytes:
        with contextlib.suppress(OSError):
            return status_of(port)
        return b""

    assert b"200" in wait_for(answers, "the port never came back")
    assert "the way to the outside is gone" in otter("events").stdout


def test_a_port_that_is_lost_later_is_told_and_opened_again_when_it_is_free(otter) -> None:
    port = free_port()
    otter.serve()
    otter("apply", otter.topology(mesh("lost", at_cloud(port), "false")))
    agent = otter.agent_pid
    assert agent is not None
    os.kill(agent, signal.SIGSTOP)
    (relay,) = _alive_relays(otter)
    watched = os.pidfd_open(relay)
    os.kill(relay, signal.SIGKILL)
    select.select([watched], [], [], 10)
    os.close(watched)
    with socket.create_server(("127.0.0.1", port)):
        os.kill(agent, signal.SIGCONT)
        status = wait_for(lambda: _troubled(otter), "the trouble is never told")
        assert f"publish tcp 127.0.0.1:{port}: the port is taken by" in status["problem"]
        assert f"(pid {os.getpid()})" in status["problem"]
        assert otter.modules("lost")["web"]["state"] == "ready", "it runs on"
    wait_for(lambda: otter.json("status")["state"] == "ready", "never well again")
    assert b"200" in status_of(port)


def _troubled(otter):
    status = otter.json("status")
    return status if status["state"] == "degraded" else None


def test_a_mesh_that_goes_while_the_agent_is_dead_takes_its_relay_along(otter) -> None:
    port = free_port()
    otter.serve()
    otter("apply", otter.topology(mesh("gone", at_cloud(port), "false")))
    kill_within(otter, 0.4, "destroy", "--yes", "--no-fetch")
    # Starts the next agent, unless the verb above has done so: it came too late to be killed.
    otter("destroy", "-m", "gone", "--yes", "--no-fetch")
    wait_for(lambda: otter.json("ls") == [], "the next agent finishes it")
    assert _alive_relays(otter) == []
    assert otter.leftovers() == []


def _alive_relays(otter) -> list[int]:
    return [p for p in otter.processes() if "otter_agent.network.outside" in _words(p)]


def _words(pid: int) -> list[str]:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        return file.read().split("\0")
    return []


CONTAINERS = """
name = "{name}"
[defaults.module]
runtime = "docker"
[hosts.phone]
[hosts.cloud]
gateway = {gateway}
[[links]]
between = ["phone", "cloud"]
[modules.web]
host = "phone"
image = "{image}"
command = ["httpd", "-f", "-p", "8000", "-h", "/etc"]
ready = {{ tcp = 8000 }}
publish = {{ port = 8000, as = {port}, at = "cloud" }}
[modules.client]
host = "phone"
image = "{image}"
command = ["sleep", "1000"]
"""


@pytest.mark.docker
def test_containers_have_a_way_out_and_in(docker_otter, busybox_image, world) -> None:
    otter, port = docker_otter, free_port()
    before = outside.machine()
    words = {"name": "boxes", "image": busybox_image, "port": port}
    otter("apply", otter.topology(CONTAINERS.format(gateway="true", **words)))
    called = otter("exec", "client", "--", "nc", "-w", "5", outside.THERE, "7001")
    assert called.stdout == f"{outside.HERE}\n"
    assert status_of(port).startswith(b"HTTP/1.1 ")
    conf = otter("exec", "client", "--", "cat", "/etc/resolv.conf").stdout
    assert "nameserver 169.254.53.53" in conf
    assert "web" in otter("exec", "client", "--", "cat", "/etc/hosts").stdout
    after = outside.machine()
    assert after.pop("listening") - before.pop("listening") == {("tcp", f"127.0.0.1:{port}")}
    assert after == before

    pid = otter.modules("boxes")["client"]["pid"]
    otter("apply", otter.topology(CONTAINERS.format(gateway="false", **words)))
    assert otter.modules("boxes")["client"]["pid"] == pid
    conf = otter("exec", "client", "--", "cat", "/etc/resolv.conf").stdout
    assert "nameserver 127.0.0.1" in conf
    lost = otter("exec", "client", "--", "nslookup", "example.com", code=None)
    assert lost.returncode != 0
