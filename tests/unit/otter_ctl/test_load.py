"""Sound topologies come out resolved, in SI units."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from net.links.spec import LinkSpec
from otter_ctl.topology import File, Host, Link, Module, Ready, Stream

HOST = 'name = "m"\n[hosts.a]\n[hosts.b]\n'
LINK = '[[links]]\nbetween = ["a", "b"]\n'


def test_every_key(read, full, folder):
    topology = read(full)
    assert (topology.name, topology.seed) == ("multimodal-qa", 7)
    assert topology.path == folder / "mesh.toml"
    assert topology.hosts == (
        Host(name="phone", cpu=1.0, memory_bytes=1 << 30),
        Host(name="edge", cpu=2.0, memory_bytes=4 << 30),
    )
    there = LinkSpec(delay_s=0.02, jitter_s=0.002, loss_ratio=0.005, rate_bps=20e6, queue_s=0.05)
    back = replace(there, rate_bps=5e6, queue_s=None, queue_packets=100)
    assert topology.links == (
        Link(name="radio", a="phone", b="edge", forward=there, reverse=back),
        Link(name="edge-phone", a="edge", b="phone", forward=LinkSpec(queue_s=0.05)),
    )
    assert topology.streams == (
        Stream(source="asr", output="text", target="vqa", input="question", queue=4),
    )
    assert topology.streams[0].name == "asr.text>vqa.question"


def test_modules_of_every_kind(read, full, folder):
    asr, vqa, probe = read(full).modules
    assert asr == Module(
        name="asr",
        host="phone",
        build=folder / "asr",
        base="torch",
        cpu=0.5,
        memory_bytes=800 << 20,
        env={"COLOUR": "red", "SIZE": "l", "OTTER_MODEL": "x=y"},
        files=(File(target="inputs/question.wav", source=folder / "data/question.wav"),),
        outputs=("answer.wav", "*.txt"),
        ready=Ready(tcp=8000, within_s=60.0),
        restart="on-failure",
    )
    assert (vqa.image, vqa.command, vqa.host) == ("repo/name:tag", ("python3", "-m", "x", ""), None)
    assert (vqa.restart, vqa.env) == ("no", {"COLOUR": "red", "SIZE": "s"})
    assert (probe.runtime, probe.build, probe.image) == ("process", None, None)
    assert probe.ready == Ready(command=("test", "-e", "/x"))


def test_only_the_name_and_a_host_are_needed(read):
    topology = read('name = "m"\nhosts.a = {}\n')
    assert topology.hosts == (Host(name="a"),)
    assert (topology.seed, topology.links, topology.modules, topology.streams) == (0, (), (), ())


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("50ms", "queue_s", 0.05),
        ("64KiB", "queue_bytes", 65536),
        ("100 packets", "queue_packets", 100),
        ("1 packet", "queue_packets", 1),
    ],
)
def test_a_queue_is_a_time_bytes_or_packets(read, written, field, value):
    link = read(f'{HOST}{LINK}queue = "{written}"\n').links[0]
    assert link.forward == LinkSpec(**{field: value}) == link.reverse


def test_a_queue_of_ones_own_replaces_the_default_of_another_kind(read):
    text = f'{HOST}[defaults.link]\nqueue = "50ms"\n{LINK}queue = "1kB"\n'
    assert read(text).links[0].forward == LinkSpec(queue_bytes=1000)


def test_parallel_links_with_names(read):
    text = f'{HOST}{LINK}{LINK}name = "wire"\n'
    assert [link.name for link in read(text).links] == ["a-b", "wire"]


def test_windows_line_ends_and_a_byte_order_mark(read, full):
    windows = b"\xef\xbb\xbf" + full.replace("\n", "\r\n").encode()
    assert read(windows) == read(full)


def test_paths_start_at_the_file_not_at_the_caller(read, full, folder, monkeypatch):
    monkeypatch.chdir("/")
    assert read(full).modules[0].build == folder / "asr"


@pytest.mark.slow
def test_a_sound_file_needs_no_syntax_tree():
    """Nor pydantic, msgspec, asyncio: `otterctl` starts in 0.15 s."""
    code = (
        "import sys, otter_ctl.topology\n"
        "print([m for m in ('tree_sitter', 'msgspec', 'pydantic', 'asyncio', 'difflib')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
