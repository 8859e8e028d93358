"""`capture`, from the command line; what it writes is read by dpkt."""

from __future__ import annotations

import os
import signal
import subprocess

import dpkt
import pytest
from helpers.otter import wait_for

TWO = """
otter = 1
name = "pair"
[hosts.a]
cpu = 0.5
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
[[links]]
name = "spare"
between = ["a", "b"]
[modules.talker]
host = "a"
runtime = "process"
command = ["ping", "-i", "0.1", "b"]
"""


@pytest.fixture
def mesh(otter):
    otter("apply", otter.topology(TWO))
    return otter


def packets(path):
    with open(path, "rb") as file:
        return [dpkt.ethernet.Ethernet(data) for _, data in dpkt.pcapng.Reader(file)]


def test_a_capture_holds_what_arrives(mesh):
    done = mesh("capture", "radio", "--packets", "6")
    assert "6 packets in radio.pcapng" in done.stderr
    found = packets(mesh.root / "radio.pcapng")
    assert len(found) == 6
    kinds = {frame.data.data.type for frame in found}
    assert kinds == {dpkt.icmp.ICMP_ECHO, dpkt.icmp.ICMP_ECHOREPLY}  # each once, at its far end


def test_of_one_direction_and_only_its_heads(mesh):
    mesh("capture", "radio", "--direction", "a>b", "--packets", "3", "--snap", "40B", "-o", "x")
    with (mesh.root / "x").open("rb") as file:
        found = [data for _, data in dpkt.pcapng.Reader(file)]
    assert [len(data) for data in found] == [40] * 3
    assert {data[34] for data in found} == {dpkt.icmp.ICMP_ECHO}


def test_into_a_pipe_until_it_is_interrupted(mesh):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "errors": "replace"}
    child = mesh.popen("capture", "radio", "-o", "-", **pipes)
    assert os.read(child.stdout.fileno(), 4) == b"\x0a\x0d\x0d\x0a"
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 0, said
    assert "packets" in said


def test_a_pipes_reader_that_goes_ends_it_without_a_word_too_much(mesh):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "errors": "replace"}
    child = mesh.popen("capture", "radio", "-o", "-", **pipes)
    assert os.read(child.stdout.fileno(), 4) == b"\x0a\x0d\x0d\x0a"
    with child:
        child.stdout.close()
        assert child.stderr.read().count("\n") == 1


def test_a_capture_ends_with_its_time_and_with_its_mesh(mesh):
    mesh("capture", "spare", "--for", "300ms", "-o", "quiet")
    assert packets(mesh.root / "quiet") == []
    child = mesh.popen("capture", "radio", "-o", "long", stderr=subprocess.PIPE)
    wait_for((mesh.root / "long").exists, "the file")
    mesh("destroy", "--yes", "--no-fetch")
    child.communicate(timeout=30)
    assert child.returncode == 0
    assert packets(mesh.root / "long")


def test_what_cannot_be_captured_leaves_no_file(mesh):
    assert "no link 'nope'" in mesh("capture", "nope", code=1).stderr
    assert "a>b, b>a" in mesh("capture", "radio", "--direction", "b>c", code=1).stderr
    refused = mesh("capture", "radio", "-o", "no/x", "--packets", "1", code=1).stderr
    assert "no/x can't be written: No such file or directory; -o names another" in refused
    assert not (mesh.root / "nope.pcapng").exists()
    assert not (mesh.root / "radio.pcapng").exists()


def test_a_link_in_user_space_has_no_ethernet(otter):
    """What its devices are depends on the driver that this kernel leaves; a capture says which."""
    both = TWO.replace('name = "spare"', 'name = "spare"\ndelay = "9ms"')
    otter("apply", otter.topology(both.replace('name = "radio"', 'name = "radio"\ndelay = "5ms"')))
    drivers = {x["driver"] for x in otter.json("status")["links"] if x["name"] == "radio"}
    otter("capture", "radio", "--packets", "4")
    with (otter.root / "radio.pcapng").open("rb") as file:
        reader = dpkt.pcapng.Reader(file)
        found = [data for _, data in reader]
    raw = dpkt.pcap.DLT_RAW, dpkt.ip.IP
    kind, first = raw if drivers == {"tun"} else (dpkt.pcap.DLT_EN10MB, dpkt.ethernet.Ethernet)
    assert reader.datalink() in (kind, 101)  # the same, by its number in files
    for data in found:
        packet = first(data)
        assert isinstance(packet if first is dpkt.ip.IP else packet.data, dpkt.ip.IP)


def test_captures_that_hear_nothing_hold_up_nobody(mesh):
    """A thread each would leave the agent none for anything else; and there is an end to them."""
    before = max(threads_that_poll(mesh.agent_pid) for _ in range(20))
    children = [
        mesh.popen("capture", "spare", "-o", f"quiet{i}", stderr=subprocess.PIPE) for i in range(16)
    ]
    try:
        for i in range(16):
            wait_for((mesh.root / f"quiet{i}").exists, "the file")
        refused = mesh("capture", "radio", "--packets", "1", "-o", "more", code=1)
        assert "16 captures are under way already" in refused.stderr
        # Others wake now and then; one for each capture would be there at every look.
        assert min(threads_that_poll(mesh.agent_pid) for _ in range(20)) <= before
    finally:
        for child in children:
            child.send_signal(signal.SIGINT)
        for child in children:
            child.communicate(timeout=30)
    mesh("capture", "radio", "--packets", "1", "-o", "more")


def threads_that_poll(pid):
    """How many threads of a process wait in `select` or `poll`; the loop has an epoll."""
    found = 0
    for thread in os.scandir(f"/proc/{pid}/task"):
        with open(f"{thread.path}/wchan") as wchan:
            found += wchan.read().startswith("poll_schedule_timeout")
    return found
