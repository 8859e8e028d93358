"""`otterctl forward`: local ports that lead to modules."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import netns, outside
from helpers.otter import wait_for

pytestmark = [pytest.mark.timed, pytest.mark.netns]

MESH = """
name = "fwd"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
between = ["a", "b"]
[modules.echo]
host = "b"
ready = { tcp = 7000 }
command = ["python3", "-c", '''
import socket, threading
tcp = socket.create_server(("", 7000), backlog=256)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 7000))
def answer(c):
    with c:
        c.sendall(c.getpeername()[0].encode() + b"\\\\n")
        while data := c.recv(1 << 20):
            c.sendall(data)
def hear():
    while True:
        data, who = udp.recvfrom(65535)
        udp.sendto(who[0].encode() + b" " + data, who)
threading.Thread(target=hear, daemon=True).start()
while True:
    threading.Thread(target=answer, args=(tcp.accept()[0],), daemon=True).start()
''']
"""


@pytest.fixture
def mesh(shared_otter):
    shared_otter("apply", shared_otter.topology(MESH.replace("'''", '"""')))
    return shared_otter


@contextlib.contextmanager
def forward(otter, *words: str) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """A forward at work: what it says of itself, and its process, which ends with Ctrl-C."""
    verb = otter.popen("forward", *words, "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        told = json.loads(verb.stdout.readline())
        yield told, verb
        verb.send_signal(signal.SIGINT)
        assert verb.wait(10) == 130
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", told["listen_port"]), timeout=5)
    finally:
        verb.kill()
        verb.communicate()


def connected(told: dict[str, Any]) -> socket.socket:
    return socket.create_connection((told["listen"], told["listen_port"]), timeout=10)


def address(otter, host: str) -> str:
    return next(h["address"] for h in otter.json("status")["hosts"] if h["name"] == host)


def carried(otter) -> int:
    (device,) = netns.ip("-s", "link", "show", "a-b", netns=f"otter-{otter.agent_id}+fwd+a")
    return int(device["stats64"]["rx"]["packets"])


def sockets_of(pid: int) -> int:
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += os.readlink(entry).startswith("socket:")
    return found


def test_straight_to_the_module_by_default(mesh) -> None:
    before, listening = carried(mesh), outside.listening()
    with forward(mesh, "echo", "7000", "0") as (told, verb):
        assert (told["module"], told["port"], told["at"]) == ("echo", 7000, "")
        assert outside.listening() - listening == {("tcp", f"127.0.0.1:{told['listen_port']}")}
        idle = sockets_of(verb.pid)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connected(told)) for _ in range(40)]
            for i, client in enumerate(clients):
                stream = client.makefile("rb")
                assert stream.readline() == address(mesh, "b").encode() + b"\n" if i == 0 else True
                client.sendall(bytes(i + 1))
                client.shutdown(socket.SHUT_WR)
                assert stream.read().endswith(bytes(i + 1))
        wait_for(lambda: sockets_of(verb.pid) == idle, "connections that are over are let go of")
    assert carried(mesh) == before


def test_at_another_host_it_crosses_the_links(mesh) -> None:
    before = carried(mesh)
    with forward(mesh, "echo", "0:7000", "--at", "a") as (told, _), connected(told) as client:
        assert client.makefile("rb").readline() == address(mesh, "a").encode() + b"\n"
    assert carried(mesh) > before


def test_udp(mesh) -> None:
    with forward(mesh, "echo", "7000", "0", "--udp", "--at", "a") as (told, _):
        source = address(mesh, "a").encode()
        with contextlib.ExitStack() as stack:
            for text in (b"one", bytes(9000)):
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                client.settimeout(10)
                client.connect((told["listen"], told["listen_port"]))
                for _ in range(3):
                    client.send(text)
                    assert client.recv(65535) == source + b" " + text


def test_much_arrives_whole_both_ways_at_once(mesh) -> None:
    with forward(mesh, "echo", "7000", "0") as (told, _), connected(told) as client:
        stream = client.makefile("rb")
        stream.readline()
        sent = os.urandom(8 << 20)
        sending = threading.Thread(target=client.sendall, args=(sent,))
        sending.start()
        assert stream.read(len(sent)) == sent
        sending.join()


def test_what_cannot_be_reached_is_told_and_breaks_only_its_connection(mesh) -> None:
    with forward(mesh, "echo", "7001", "0") as (told, verb):
        for _ in range(2):
            with pytest.raises(ConnectionResetError), connected(told) as client:
                client.recv(1)
            said = verb.stderr.readline()
            assert "module echo: tcp port 7001: connection refused" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("ecko", "7000"), 1, "no module 'ecko' in mesh fwd"),
        (("echo", "7000", "--at", "z"), 1, "no host 'z' in mesh fwd; there are: a, b"),
        (("echo", "http"), 2, "PORT 'http': a number from 1 to 65535"),
        (("echo", "7000", "65536"), 2, "LOCALPORT '65536'"),
        (("echo", "0"), 2, "PORT '0'"),
    ],
)
def test_bad_words(mesh, words: tuple[str, ...], code: int, said: str) -> None:
    assert said in mesh("forward", *words, code=code).stderr


def test_a_taken_local_port_is_told(mesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        port = mine.getsockname()[1]
        said = mesh("forward", "echo", "7000", port, code=1).stderr
    assert f"local tcp port {port}: address already in use" in said
    assert "forward echo 7000 0" in said


def test_a_connection_that_breaks_breaks_at_the_other_side(mesh) -> None:
    with forward(mesh, "echo", "7000", "0") as (told, _), connected(told) as client:
        stream = client.makefile("rb")
        stream.readline()
        mesh("restart", "echo")  # the module's process ends in the middle of it
        assert stream.read() == b""
        with connected(told) as another:
            assert another.makefile("rb").readline().endswith(b"\n")


def test_the_agents_end_breaks_connections_and_its_return_mends_forward(otter) -> None:
    otter.serve()
    otter("apply", otter.topology(MESH.replace("'''", '"""')))
    with forward(otter, "echo", "7000", "0") as (told, _):
        with connected(told) as client:
            client.recv(99)
            otter.kill_agent()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with pytest.raises(ConnectionResetError), connected(told) as client:
            client.recv(1)
        otter.serve()

        def answers() -> bool:
            with contextlib.suppress(ConnectionResetError), connected(told) as client:
                return client.recv(99).endswith(b"\n")
            return False

        wait_for(answers, "the next agent leads there again")


def test_destroy_does_not_wait_for_forwards_and_ends_them(mesh) -> None:
    verb = mesh.popen("forward", "echo", "7000", "0", "--json",
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    told = json.loads(verb.stdout.readline())
    with connected(told) as client:
        client.recv(99)
        client.sendall(bytes(1 << 20))  # nobody reads the answer
        begin = time.monotonic()
        mesh("destroy", "--yes", "--no-fetch")
        assert time.monotonic() - begin < 5
        assert mesh.leftovers("+fwd+") == []
    with contextlib.suppress(ConnectionResetError), connected(told) as client:
        client.recv(1)
    _, said = verb.communicate(timeout=10)
    assert verb.returncode == 1
    assert "no mesh 'fwd' here" in said
