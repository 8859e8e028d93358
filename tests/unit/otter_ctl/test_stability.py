"""What comes or goes renames, moves and restarts nothing else, wherever in the file it stands."""

from __future__ import annotations

import pytest

from otter_ctl.planning.diff import diff
from otter_ctl.planning.resolve import plan

RUN = 'runtime = "process"\ncommand = ["x"]\n'
CLIENTS = "[hosts.client]\ncount = {count}\n"
EDGE = "[hosts.edge]\n"
STAR = '[[links]]\nbetween = ["client-*", "edge"]\n'
MESH = '[[links]]\nbetween = ["*", "*"]\ndelay = "1ms"\nreverse = { delay = "5ms" }\n'
CAMS = f'[modules.cam]\nhost = "client-*"\n{RUN}[modules.hub]\nhost = "edge"\n{RUN}'
PARTS = [CLIENTS.format(count=3), EDGE, STAR, CAMS]


def module(name: str, cpu: float, host: str = "") -> str:
    return f"[modules.{name}]\ncpu = {cpu}\n{RUN}" + (f'host = "{host}"\n' if host else "")


def grown(at: int, part: str) -> str:
    return "".join([*PARTS[:at], part, *PARTS[at:]])


HOMELESS = module("p", 0.6) + module("q", 0.6)
CHANGES = {
    "a count grows": ("".join(PARTS), "".join([CLIENTS.format(count=9), *PARTS[1:]])),
    "a host before all": ("".join(PARTS), grown(0, "[hosts.aaa]\n")),
    "a host that globs match": ("".join(PARTS), grown(0, "[hosts.client-x]\n")),
    "a host between": ("".join(PARTS), grown(1, "[hosts.bbb]\ncount = 2\n")),
    "a link before all": (
        "".join(PARTS),
        grown(2, '[[links]]\nname = "more"\nbetween = ["edge", "client-1"]\n'),
    ),
    "a module before all": ("".join(PARTS), grown(3, module("aaa", 0.1, "edge"))),
    "a member of a mesh": (
        f"[hosts.a]\n[hosts.c]\n{MESH}",
        f"[hosts.a]\n[hosts.b]\n[hosts.c]\n{MESH}",
    ),
    "two groups that pair by index": (
        '[hosts.a]\ncount = 2\n[hosts.b]\ncount = 2\n[[links]]\nbetween = ["a-*", "b-*"]\n',
        '[hosts.a]\ncount = 3\n[hosts.b]\ncount = 3\n[[links]]\nbetween = ["a-*", "b-*"]\n',
    ),
    "a second host, where all shared the first": (
        f"[hosts.a]\ncpu = 1\n{HOMELESS}",
        f"[hosts.b]\n[hosts.a]\ncpu = 1\n{HOMELESS}",
    ),
    "a module that takes the others' room": (
        f"[hosts.a]\ncpu = 2\n[hosts.b]\n{HOMELESS}",
        f"[hosts.a]\ncpu = 2\n[hosts.b]\n{module('z', 2, 'a')}{HOMELESS}",
    ),
    "a smaller budget": (
        f"[hosts.a]\ncpu = 2\n[hosts.b]\n{HOMELESS}",
        f"[hosts.a]\ncpu = 0.7\n[hosts.b]\n{HOMELESS}",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_there_stays(read, change):
    before, after = (f'name = "m"\n{text}' for text in CHANGES[change])
    first = plan(read(before), current=None, runtime_default="fake", blobs={}, run="r").spec
    second = plan(read(after), current=first, runtime_default="fake", blobs={}, run="s").spec
    assert first.names.items() <= second.names.items()
    touched = [c for c in diff(first, second) if c.kind in ("replace", "remove") or c.restart]
    assert touched == []
    assert diff(first, second), "nothing changed at all: this tests nothing"


def test_leaving_is_as_quiet(read):
    """The same backwards, but for what goes itself; a re-apply of the first file keeps all."""
    before, after = (f'name = "m"\n{text}' for text in CHANGES["a host between"])
    first = plan(read(after), current=None, runtime_default="fake", blobs={}, run="r").spec
    second = plan(read(before), current=first, runtime_default="fake", blobs={}, run="s").spec
    assert second.names.items() <= first.names.items()
    removed = {(c.subject, c.name) for c in diff(first, second) if c.kind != "update"}
    assert removed == {("host", "bbb-1"), ("host", "bbb-2")}
