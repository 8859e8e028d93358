"""Whatever stands in a file, `load` gives a topology or `TopologyErrors` with line numbers."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otter_agent import api
from otter_agent.api import check as check_spec
from otter_ctl.errors import PlanError, TopologyError, TopologyErrors
from otter_ctl.planning.expansion import expansion_lines
from otter_ctl.planning.model import Blob
from otter_ctl.planning.resolve import plan
from otter_ctl.topology import Topology

pytestmark = pytest.mark.slow

COUNT = 300

VALUES = [
    "nan", "inf", "-inf", "0", "-1", "1e999", "9" * 30, "0x" + "f" * 4000, "true", '""', "[]", "{}",
    '"' + "n" * 300 + '"', '"\\u0000"', "2020-01-01", "10:00:00", '["a", 1, []]', "{ a = 1 }", "''",
    '"../.."', '"-1ms"', '"NaN"', '"1e400ms"', "[[[[]]]]", '"\\U0010ffff"', '"a.b.c"', "1_0", "'*'",
]  # fmt: skip
LINES = [
    "[hosts.phone]", "[[links]]", "[links]", "[modules.asr]", "[[modules]]", "x = 1", "[a.b.c]",
    "trace = 1", '"" = 1', "[[hosts]]", "[", "]]", "= 1", "name", 'hosts.phone.cpu = "x"', "[[]]",
    '"\\u0000" = 3', "n" * 300 + " = 1", "[hosts." + "n" * 300 + "]", "[defaults]", "\x00",
    "\ufeff",
]  # fmt: skip
JUNK = [b"\0", b"\xff", b"\r", b"\x1b[31m", b"'", b'"""', b"{", b"\n", b"\xe2\x80"]


def flip_byte(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def insert_bytes(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.choice(JUNK) + data[at:]


def cut(chance: random.Random, data: bytes) -> bytes:
    start, end = sorted(chance.sample(range(len(data)), 2))
    return data[:start] + data[end:] if chance.random() < 0.5 else data[:end]


def change_value(chance: random.Random, data: bytes) -> bytes:
    lines = data.decode().split("\n")
    at = chance.choice([i for i, line in enumerate(lines) if " = " in line])
    lines[at] = f"{lines[at].partition(' = ')[0]} = {chance.choice(VALUES)}"
    return "\n".join(lines).encode()


def change_key(chance: random.Random, data: bytes) -> bytes:
    lines = data.decode().split("\n")
    at = chance.choice([i for i, line in enumerate(lines) if " = " in line])
    key, _, value = lines[at].partition(" = ")
    new = chance.choice([key[:-1], key + "x", f'"{key}\\u0000"', f"{key}.{key}", "n" * 300, "é"])
    lines[at] = f"{new} = {value}"
    return "\n".join(lines).encode()


def change_lines(chance: random.Random, data: bytes) -> bytes:
    lines = data.decode().split("\n")
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    what = chance.randrange(4)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, chance.choice(LINES))
    elif what == 2:
        lines.insert(at, lines[other])
    else:
        lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines).encode()


MUTATIONS: list[Callable[[random.Random, bytes], bytes]] = [
    flip_byte, insert_bytes, cut, change_value, change_value, change_key, change_lines,
    change_lines,
]  # fmt: skip


def check(error: TopologyError) -> None:
    assert error.line >= 1
    assert error.column >= 1
    assert error.reason
    assert "\n" not in str(error)
    assert str(error).isprintable()


def outcome(read: Callable[..., Topology], data: bytes) -> list[TopologyError]:
    try:
        topology = read(data)
    except TopologyErrors as exc:
        found = list(exc)
    else:
        planned(topology)
        return []
    assert found
    for error in found:
        check(error)
    return found


def planned(topology: Topology) -> None:
    """What loads can be planned, or says why not; and the agent takes it if `apply` may."""
    blobs = {m.build: Blob("d" * 64, 1, bytes) for m in topology.modules if m.build}
    blobs |= {f.source: Blob("e" * 64, 1, bytes) for m in topology.modules for f in m.files}
    try:
        made = plan(topology, current=None, runtime_default="fake", blobs=blobs, run="r")
    except PlanError:
        return
    assert list(expansion_lines(made.expansion)) or not topology.expansion
    if not made.unsupported:
        check_spec(api.decode(api.encode(made.spec), api.MeshSpec))


def mutated(chance: random.Random, data: bytes) -> bytes:
    """`data` changed once; as it is where an earlier change left nothing to take hold of."""
    try:
        return chance.choice(MUTATIONS)(chance, data)
    except (UnicodeDecodeError, IndexError, ValueError):
        return data


@pytest.mark.parametrize("text", ["full", "wide"])
def test_mutated_topologies(read, text, request):
    chance = random.Random(20261122)
    sound = request.getfixturevalue(text).encode()
    assert outcome(read, sound) == []
    broken = 0
    for _ in range(COUNT):
        data = sound
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            data = mutated(chance, data)
        broken += bool(outcome(read, data))
    assert broken > COUNT / 2


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("text", ["full", "wide"])
def test_every_value_at_every_key(read, value, text, request):
    lines = request.getfixturevalue(text).split("\n")
    for at, line in enumerate(lines):
        if " = " in line:
            changed = [*lines[:at], f"{line.partition(' = ')[0]} = {value}", *lines[at + 1 :]]
            lines_of = {error.line for error in outcome(read, "\n".join(changed).encode())}
            assert max(lines_of, default=1) <= len(lines)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes(read, data):
    outcome(read, data)


TOML_TEXT = st.text(alphabet="[]{}=.\"'#,\n\r\t\\ anhostsliknmdue019-_\0é", max_size=120)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TOML_TEXT)
def test_anything_like_toml(read, text):
    outcome(read, text.encode())
    outcome(read, f'name = "m"\n[hosts.a]\n{text}'.encode())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=30) | TOML_TEXT, max_size=3))
def test_any_override(read, full, texts):
    try:
        read(full, *texts)
    except TopologyErrors as exc:
        for error in exc:
            check(error)
