"""What gets in where tunnels do, past a firewall; whoever has the port."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from helpers.descriptors import many

from otter_agent import api, knocking
from otter_agent.knocking import knock
from otter_agent.network import namespaces

HERE = "127.0.0.1"
KEY = "ab" * 16
PORTS = (14789, 14790)


@pytest.fixture
def machine(require) -> Iterator[str]:
    """A network namespace."""
    require("netns", shutil.which("iptables"), "no iptables")
    name = f"otk{secrets.token_hex(3)}"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def rule(name: str, *words: str) -> None:
    argv = ["nsenter", f"--net=/run/netns/{name}", "iptables", *words]
    subprocess.run(argv, check=True, capture_output=True)


def answered(name: str, key: str = KEY, ports: tuple[int, ...] = PORTS) -> tuple[bool, ...]:
    """Of both ports, with a machine that answers who has `KEY` at `ports`."""

    def both() -> tuple[bool, ...]:
        namespaces.enter(name)
        assert knock(api.Knocking(local=HERE, key=KEY, ports=ports)) == api.Knocked()
        doors = tuple(api.Door(address=HERE, port=port) for port in PORTS)
        found = knock(api.Knocking(local=HERE, key=key, doors=doors))
        assert found.error == ""
        return found.answered

    return namespaces.in_own_thread(both)


def test_who_has_the_key_gets_an_answer_from_each_port(machine: str) -> None:
    assert answered(machine) == (True, True)
    assert answered(machine, key="cd" * 16) == (False, False)


def test_the_port_may_be_vxlans(machine: str) -> None:
    ip("-n", machine, "link", "add", "v", "type", "vxlan", "id", "7", "dstport", str(PORTS[0]))
    ip("-n", machine, "link", "set", "v", "up")
    assert answered(machine) == (True, True)


def test_what_a_firewall_drops_gets_no_answer(machine: str) -> None:
    rule(machine, "-A", "INPUT", "-p", "udp", "--dport", str(PORTS[0]), "-j", "DROP")
    assert answered(machine) == (False, True)


def test_an_agent_with_many_files_open_answers(machine: str) -> None:
    with many():
        assert answered(machine) == (True, True)


def test_one_that_can_start_no_thread_says_so_and_listens_to_nothing(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def ask() -> api.Knocked:
        namespaces.enter(machine)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            return knock(api.Knocking(local=HERE, key=KEY, ports=PORTS))

    before = set(os.listdir("/proc/self/fd"))
    assert namespaces.in_own_thread(ask).error == "can't start new thread"
    assert set(os.listdir("/proc/self/fd")) <= before  # others end by themselves


def test_what_is_there_is_heard_though_who_knocks_stood_still(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over as soon as it has knocked; all doors have answered by then."""
    back = knocking._said(knocking._BACK, KEY)
    passed_s = [0.0]

    class Held(socket.socket):
        def sendto(self, data: bytes, door: tuple[str, int]) -> int:  # type: ignore[override]
            sent = super().sendto(data, door)
            if (there := doors.get(door[1])) is None:
                return sent
            knock_, source = there.recvfrom(256)
            assert knock_ == knocking._said(knocking._KNOCK, KEY)
            there.sendto(b"what others send", source)
            there.sendto(back, source)
            passed_s[0] += 100.0
            return sent

    def ask() -> api.Knocked:
        namespaces.enter(machine)
        with contextlib.ExitStack() as stack:
            for port in PORTS:
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                doors[port] = stack.enter_context(made)
                made.bind((HERE, port))
            patched = stack.enter_context(monkeypatch.context())
            patched.setattr(knocking.socket, "socket", Held)
            patched.setattr(knocking, "time", SimpleNamespace(monotonic=lambda: passed_s[0]))
            asked = tuple(api.Door(address=HERE, port=port) for port in (*PORTS, 9))
            return knock(api.Knocking(local=HERE, key=KEY, doors=asked))

    doors: dict[int, socket.socket] = {}
    assert namespaces.in_own_thread(ask) == api.Knocked(answered=(True, True, False))


def test_an_address_that_the_machine_has_not_is_told(machine: str) -> None:
    def ask() -> api.Knocked:
        namespaces.enter(machine)
        return knock(api.Knocking(local="10.9.8.7", key=KEY, ports=PORTS))

    assert "cannot assign" in namespaces.in_own_thread(ask).error
