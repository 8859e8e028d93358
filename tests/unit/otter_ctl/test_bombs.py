"""Files made to take for ever or to fill the memory: refused in seconds, and in few lines.

Each is about the size at which what it is aimed at took minutes, or gigabytes, while cost grew
with the square.
"""

from __future__ import annotations

import time

import pytest

from otter_ctl.topology.include import FILES_LIMIT
from otter_ctl.topology.reader import PROBLEMS_LIMIT

pytestmark = pytest.mark.slow

WITHIN_S = 10
"""For machines that do something else as well; each takes under 2 s on an idle one."""

TOP = 'name = "m"\n[hosts.h]\n'
GROUPS = 'name = "m"\n[hosts.a]\ncount = 200\n[hosts.b]\ncount = 250\n'
MODULES = "".join(f'[modules.{m}]\nimage = "x"\nhost = "h"\ncount = 250\n' for m in "ab")
ONE = '[modules.m]\nimage = "x"\nhost = "h"\n'


def lines(count: int, line: str) -> str:
    return "".join(line.format(i=i) for i in range(count))


# Each made by its test: half a million lines together, in a file that is mostly only collected.
BOMBS = {
    "pairs of links that there are": lambda: (
        GROUPS + lines(20_000, '[[links]]\npair = "all"\nbetween = ["a-*", "b-*"]\n')
    ),
    "pairs of streams that there are": lambda: (
        TOP + MODULES + lines(20_000, '[[streams]]\npair = "all"\nfrom = "a-*.x"\nto = "b-*.y"\n')
    ),
    "counts of hosts": lambda: 'name = "m"\n' + lines(20_000, "[hosts.h{i}]\ncount = 10000\n"),
    "counts of modules": lambda: (
        TOP + lines(10_000, '[modules.m{i}]\nimage = "x"\ncount = 50000\n')
    ),
    "unknown keys": lambda: TOP + lines(100_000, "x{i} = 1\n"),
    "tables without ends": lambda: TOP + lines(50_000, "[[links]]\n"),
    "values of one array": lambda: TOP + ONE + "outputs = [" + '"",' * 200_000 + "]\n",
    "mounts": lambda: (
        TOP + ONE + "[modules.m.mounts]\n" + lines(50_000, '"/d{i}" = {{ volume = "v" }}\n')
    ),
    "variables": lambda: TOP + ONE + "[modules.m.env]\n" + lines(50_000, 'V{i} = ""\n'),
    "dotted keys": lambda: TOP + lines(20_000, "x{i}" + ".b" * 15 + " = 1\n"),
    "labels": lambda: (
        TOP
        + lines(
            9_000, '[hosts.h{i}]\non = {{ label = "l{i}" }}\n[machines.m{i}]\nlabels = ["k{i}"]\n'
        )
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(problems, bomb):
    text = BOMBS[bomb]()
    started = time.process_time()
    found = problems(text)
    assert time.process_time() - started < WITHIN_S
    assert 0 < len(found) <= PROBLEMS_LIMIT + 1


def test_the_rest_is_said_not_to_be_told(problems):
    *told, last = problems(TOP + lines(PROBLEMS_LIMIT + 5, "x{i} = 1\n"))
    assert [error.key for error in told] == [f"hosts.h.x{i}" for i in range(PROBLEMS_LIMIT)]
    assert str(last).endswith("these are the first 1000 problems; no more were looked for")
    assert not any(
        "no more" in str(e) for e in problems(TOP + lines(PROBLEMS_LIMIT - 1, "x{i}=1\n"))
    )


def ports(of: int) -> str:
    each = (f'{{ port = 80, listen = "127.{of}.{i >> 8}.{i & 255}" }}' for i in range(1000))
    return f'[modules.m{of}]\nimage = "x"\npublish = [{", ".join(each)}]\n'


def mounts(of: int) -> str:
    each = lines(1000, '"/d{i}" = {{ volume = "v" }}\n')
    return f'[modules.m{of}]\nimage = "x"\n[modules.m{of}.mounts]\n{each}'


SOUND = {
    "published ports": lambda: TOP + "".join(map(ports, range(20))),
    "mounts": lambda: TOP + "".join(map(mounts, range(20))),
    "labels": lambda: (
        'name = "m"\n'
        + lines(
            9_000, '[hosts.h{i}]\non = {{ label = "l{i}" }}\n[machines.m{i}]\nlabels = ["l{i}"]\n'
        )
    ),
}


@pytest.mark.parametrize("much", SOUND)
def test_much_that_is_sound(problems, much):
    text = SOUND[much]()
    started = time.process_time()
    assert problems(text) == []
    assert time.process_time() - started < WITHIN_S


@pytest.mark.parametrize(
    "key", ["links" + ".a" * 60_000, "a" + ".a" * 60_000, "hosts.h.cpu={a" + ".a" * 60_000 + "=1}"]
)
def test_overrides(problems, key):
    started = time.process_time()
    (error,) = problems(TOP, f"{key}=1")
    assert time.process_time() - started < WITHIN_S / 5
    assert error.reason.endswith("dots")
    (error,) = problems(TOP, "hosts.h.profile=" + "x" * (1 << 20))
    assert error.reason.startswith("has over 131072 bytes")


def test_a_file_named_very_often(problems, folder):
    (folder / "part.toml").write_text("")
    (error,) = problems("include = [" + '"part.toml",' * 100_000 + f"]\n{TOP}")
    assert error.reason == f"makes more than {FILES_LIMIT} files"
