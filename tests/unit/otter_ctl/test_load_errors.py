"""Broken topologies: every problem with the right line, key and reason. `# <-` marks the line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otter_ctl.errors import TopologyErrors
from otter_ctl.topology import load

TOP = 'name = "m"\n[hosts.a]\ncpu = 1\nmemory = "64MiB"\n[hosts.b]\n'
LINK = f'{TOP}[[links]]\nbetween = ["a", "b"]\n'
MODULE = f'{TOP}[modules.m1]\nbuild = "asr"\n'
TWO = f'{MODULE}[modules.m2]\nbuild = "asr"\n'
LONG = "n" * 300

CASES = [
    # the file as a whole
    ('seed = 1 # <-\n[hosts.a]\n', "", "missing key `name`"),
    ('name = "m" # <-\n', "", "missing key `hosts`"),
    ('name = "m"\nhosts = {} # <-\n', "hosts", "must hold at least one table"),
    ('name = "m"\nhosts = 3 # <-\n', "hosts", "must be tables [hosts.NAME], not an integer"),
    ('name = "m"\notter = 2 # <-\n[hosts.a]\n', "otter", "reads format 1 at most"),
    ('name = "m"\notter = "1" # <-\n[hosts.a]\n', "otter", "must be an integer, not a string"),
    ('name = "m"\nsede = 1 # <-\n[hosts.a]\n', "sede", "unknown key `sede`, did you mean `seed`?"),
    ('name = "m"\nseed = 9223372036854775808 # <-\n[hosts.a]\n', "seed", "must be between 0 and"),
    ('name = "m"\nseed = -1 # <-\n[hosts.a]\n', "seed", "must be between 0 and"),
    ('name = "m"\nseed = true # <-\n[hosts.a]\n', "seed", "must be an integer, not a true/false"),
    ('name = "m"\ninclude = ["x"] # <-\n[hosts.a]\n', "include[0]", "there is no file `x`"),
    # names
    ('name = "My Mesh" # <-\n[hosts.a]\n', "name", "name `My Mesh` must be of a-z"),
    ('name = "" # <-\n[hosts.a]\n', "name", "must not be empty"),
    (f'name = "{"n" * 41}" # <-\n[hosts.a]\n', "name", "is longer than 40 characters"),
    ('name = 2020-01-01 # <-\n[hosts.a]\n', "name", "must be a string, not a date"),
    ('name = "a\\u0000b" # <-\n[hosts.a]\n', "name", "NUL"),
    ('name = "m"\n[hosts."Phone 1"] # <-\n', 'hosts."Phone 1"', "must be of a-z"),
    (f'name = "m"\n[hosts.{LONG}] # <-\n', "hosts.", "is longer than 63 characters"),
    ('name = "m"\n[hosts.localhost] # <-\n', "hosts.localhost", "is taken"),
    (f"{TOP}[modules.a] # <-\nbuild = 'asr'\n", "modules.a", "`a` is the name of a host too"),
    # hosts
    (f"{TOP}cpu = 0 # <-\n", "hosts.b.cpu", "must be between 0.01 and 10000"),
    (f"{TOP}cpu = nan # <-\n", "hosts.b.cpu", "must be a finite number"),
    (f"{TOP}cpu = inf # <-\n", "hosts.b.cpu", "must be a finite number"),
    (f"{TOP}cpu = 0x{'f' * 5000} # <-\n", "hosts.b.cpu", "must be a finite number"),
    (f'{TOP}cpu = "2" # <-\n', "hosts.b.cpu", "must be a number, not a string"),
    (f'{TOP}memory = "3MiB" # <-\n', "hosts.b.memory", "must be at least 4MiB"),
    (f'{TOP}memory = "1g" # <-\n', "hosts.b.memory", "is not a size"),
    (f"{TOP}memory = [1] # <-\n", "hosts.b.memory", "not an array"),
    (f"{TOP}memroy = 3 # <-\n", "hosts.b.memroy", "did you mean `memory`?"),
    ('name = "m"\nhosts.a = 3 # <-\n', "hosts.a", "must be a table, not an integer"),
    (f'{TOP}[defaults.host] \ncpu = "x" # <-\n', "defaults.host.cpu", "must be a number"),
    (
        f'{TOP}[defaults.module]\nimage = "x" # <-\n', "defaults.module.image",
        "`image` can't be a default",
    ),
    (f"{TOP}[defaults.hots] # <-\n", "defaults.hots", "did you mean `host`?"),
    # links
    (f"{TOP}[[links]] # <-\n", "links[0]", "missing key `between`"),
    (f"{TOP}[links] # <-\n", "links", "must be an array of tables, not a table"),
    (f'{TOP}[[links]] # <-\nfrom = "a"\n', "links[0]", "missing key `to`"),
    (f'{TOP}[[links]]\nbetween = ["a"] # <-\n', "links[0].between", "array of two hosts"),
    (f'{TOP}[[links]]\nbetween = ["a", "c"] # <-\n', "links.a-c.between[1]", "unknown host `c`"),
    (f'{TOP}[[links]]\nbetween = ["a",\n"a"] # <-\n', "links.a-a.between[1]", "with itself"),
    (
        f'{TOP}[[links]]\nbetween = ["a-*", "b"] # <-\n',
        'links."a-*-b".between[0]',
        "`a-*` matches no host",
    ),
    (f'{LINK}to = "b" # <-\n', "links.a-b.to", "goes not together with `between`"),
    (f'{LINK}[[links]] # <-\nbetween = ["a", "b"]\n', "links.a-b", "two links called `a-b`"),
    (f'{LINK}dely = "1ms" # <-\n', "links.a-b.dely", "unknown key `dely`, did you mean `delay`?"),
    (f'{LINK}delay = "2h" # <-\n', "links.a-b.delay", "must be between 0 and 1h"),
    (f'{LINK}delay = "20" # <-\n', "links.a-b.delay", "a unit is missing"),
    (f"{LINK}delay = inf # <-\n", "links.a-b.delay", "is not a duration"),
    (f"{LINK}delay = 10:00:00 # <-\n", "links.a-b.delay", "not a date or time"),
    (f'{LINK}delay = "1ms"\njitter = "2ms" # <-\n', "links.a-b.jitter", "above the delay"),
    (f'{LINK}loss = "101%" # <-\n', "links.a-b.loss", "over the limit"),
    (f'{LINK}rate = "0bit" # <-\n', "links.a-b.rate", "must be above 0"),
    (f'{LINK}rate = "5mbps" # <-\n', "links.a-b.rate", "bits or bytes"),
    (f'{LINK}queue = "0 packets" # <-\n', "links.a-b.queue", "must be above 0"),
    (f'{LINK}queue = "many" # <-\n', "links.a-b.queue", "is not a queue's size"),
    (f"{LINK}queue = 100 # <-\n", "links.a-b.queue", "must be a string"),
    (f'{LINK}queue = "50" # <-\n', "links.a-b.queue", "`50` has no unit: write a time"),
    (f'{LINK}reverse = {{ rat = "1mbit" }} # <-\n', "links.a-b.reverse.rat", "mean `rate`?"),
    (f'{LINK}reverse = {{ jitter = "1s" }} # <-\n', "links.a-b.reverse.jitter", "above the delay"),
    (
        f'{TOP}[[links]]\nfrom = "a"\nto = "b"\nreverse = {{}} # <-\n',
        "links.a-b.reverse",
        "this link carries one way only",
    ),
    (
        f'{TOP}[defaults.link]\njitter = "1ms"\n[[links]] # <-\nbetween = ["a", "b"]\n',
        "links.a-b",
        "`jitter` must not be above the delay",
    ),
    # modules
    (f'{MODULE}network = {{ in = "0bit" }} # <-\n', "modules.m1.network.in", "at least 8bit"),
    (f"{TOP}[modules.m1] # <-\n", "modules.m1", "missing key `build`, `image` or `command`"),
    (f'{MODULE}image = "x" # <-\n', "modules.m1.image", "goes not together with `build`"),
    (f'{TOP}[modules.m1]\nbuild = "nope" # <-\n', "modules.m1.build", "there is no folder"),
    (f'{TOP}[modules.m1]\nbuild = "empty" # <-\n', "modules.m1.build", "neither module.py nor"),
    (f'{TOP}[modules.m1]\nbuild = "x\\u0000" # <-\n', "modules.m1.build", "NUL"),
    (f'{TOP}[modules.m1]\nbuild = "{LONG}" # <-\n', "modules.m1.build", "there is no folder"),
    (f'{TOP}[modules.m1]\nimage = "a b" # <-\n', "modules.m1.image", "not an image reference"),
    (
        f'{TOP}[modules.m1]\nruntime = "process"\nimage = "x" # <-\n',
        "modules.m1.image",
        "runs no images",
    ),
    (f'{TOP}[modules.m1]\nimage = "x"\nbase = "torch" # <-\n', "modules.m1.base", "with `build`"),
    (f'{TOP}[modules.m1]\ncommand = ["x"] # <-\n', "modules.m1.command", "something to run in"),
    (f'{MODULE}command = "x y" # <-\n', "modules.m1.command", "must be an array of strings"),
    (f"{MODULE}command = [] # <-\n", "modules.m1.command", "at least one"),
    (f'{MODULE}command = ["x",\n3] # <-\n', "modules.m1.command[1]", "must be a string"),
    (f'{MODULE}host = "c" # <-\n', "modules.m1.host", "unknown host `c`"),
    (f'{MODULE}host = "c-*" # <-\n', "modules.m1.host", "`c-*` matches no host"),
    (f'{MODULE}host = "a"\ncpu = 2 # <-\n', "modules.m1.cpu", "more than the 1 of host `a`"),
    (f'{MODULE}host = "a"\nmemory = "1GiB" # <-\n', "modules.m1.memory", "more than host `a` has"),
    (f'{MODULE}env = {{ "A B" = "x" }} # <-\n', 'modules.m1.env."A B"', "variable's name"),
    (f'{MODULE}env.A = "\\u0000" # <-\n', "modules.m1.env.A", "NUL"),
    (f"{MODULE}env.A = 5 # <-\n", "modules.m1.env.A", "must be a string, not an integer"),
    (f'{MODULE}env.OTTER_WORK = "" # <-\n', "modules.m1.env.OTTER_WORK", "set by OTTER"),
    (f'{MODULE}env.A = "{"x" * 140_000}" # <-\n', "modules.m1.env.A", "too long"),
    (f'{MODULE}files = {{ "../x" = "asr/module.py" }} # <-\n', "modules.m1.files", "without `..`"),
    (f'{MODULE}files = {{ "/x" = "asr/module.py" }} # <-\n', "modules.m1.files", "relative"),
    (f'{MODULE}files = {{ "x" = "nope" }} # <-\n', "modules.m1.files.x", "there is no file"),
    (f'{MODULE}files = {{ "x" = "asr" }} # <-\n', "modules.m1.files.x", "is a folder"),
    (
        f'{MODULE}[modules.m1.files]\nx = "asr/module.py"\n"x/y" = "asr/module.py" # <-\n',
        'modules.m1.files."x/y"',
        "needs a folder",
    ),
    (f'{MODULE}outputs = ["a", "../b"] # <-\n', "modules.m1.outputs[1]", "without `..`"),
    (f"{MODULE}ready = {{ tcp = 0 }} # <-\n", "modules.m1.ready.tcp", "between 1 and 65535"),
    (f"{MODULE}ready = {{ tcp = 70000 }} # <-\n", "modules.m1.ready.tcp", "between 1 and 65535"),
    (f"{MODULE}ready = {{}} # <-\n", "modules.m1.ready", "missing key `tcp`, `command` or `sdk`"),
    (f"{MODULE}ready = true # <-\n", "modules.m1.ready", "must be a table"),
    (f'{MODULE}ready = {{ tcp = 1, within = "0s" }} # <-\n', "modules.m1.ready.within", "at least"),
    (f"{MODULE}ready = {{ tcp = 1, sdk = true }} # <-\n", "modules.m1.ready.tcp", "goes not"),
    (f'{MODULE}restart = "never" # <-\n', "modules.m1.restart", "not one of no, on-failure,"),
    (f'{MODULE}runtime = "podman" # <-\n', "modules.m1.runtime", "not one of docker, process,"),
    (f"{MODULE}publish = {{}} # <-\n", "modules.m1.publish", "missing key `port`"),
    (f"{MODULE}bulid = 3 # <-\n", "modules.m1.bulid", "did you mean `build`?"),
    # streams
    (f'{TWO}[[streams]] # <-\nfrom = "m1.x"\n', "streams[0]", "missing key `to`"),
    (f'{TWO}[[streams]]\nfrom = "m1" # <-\nto = "m2.x"\n', 'streams."m1>m2.x".from', "its port"),
    (f'{TWO}[[streams]]\nfrom = "m3.x" # <-\nto = "m2.x"\n', "streams.", "unknown module `m3`"),
    (
        f'{TWO}[[streams]]\nfrom = "m1.x"\nto = "m2.x"\ntransport = "quic" # <-\n',
        'streams."m1.x>m2.x".transport',
        "`quic` is not one of tcp, udp, shm",
    ),
    (
        f'{TWO}[[streams]]\nfrom = "m1.x"\nto = "m2.x"\npolicy = "newest" # <-\n',
        'streams."m1.x>m2.x".policy',
        "`newest` is not one of block, drop-oldest, latest",
    ),
    (f'{TWO}[[streams]]\nfrom = "m1.x"\nto = "m2.x"\nqueue = 0 # <-\n', "streams.", "between 1"),
    (
        f'{TWO}[[streams]]\nfrom="m1.x"\nto="m2.x"\n[[streams]] # <-\nfrom="m1.x"\nto="m2.x"\n',
        'streams."m1.x>m2.x"',
        "is there already",
    ),
    # syntax
    ('name = "m\n# <-', "", "not valid TOML"),
    ('name = "m"\n[hosts.a]\n[hosts.a] # <-\n', "", "declared twice: hosts.a"),
    ('name = "m"\nname = "n" # <-\n', "", "a key is given twice"),
    (f"{LINK}delay = 20ms # <-\n", "", "not valid TOML"),
    ("x = \x01 # <-\n", "", "not valid TOML"),
    (f"x = {'9' * 5000} # <-\n", "", "a number is too long"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "reason"), CASES, ids=range(len(CASES)))
def test_one_problem(problems, text, key, reason):
    found = problems(text)
    assert len(found) == 1, [str(error) for error in found]
    (error,) = found
    lines = text.split("\n")
    marked = [i for i, line in enumerate(lines, 1) if "# <-" in line]
    if not key and text.startswith('name = "m\n'):
        marked = [1]  # the string isn't closed in line 1
    assert [error.line] == marked
    assert error.key.startswith(key)
    assert reason in error.reason
    assert "\n" not in str(error)
    assert len(str(error)) < 500


def test_all_problems_of_a_file_at_once_in_order(problems, full):
    text = full.replace("seed", "sede").replace("delay", "dely").replace('"1min"', '"1x"')
    found = problems(text)
    assert [error.key for error in found] == [
        "sede", "links.radio.dely", "links.radio.jitter", "modules.asr.ready.within",
    ]  # fmt: skip
    assert [error.line for error in found] == sorted(error.line for error in found)


def test_the_printed_form(problems, folder):
    (error,) = problems(f'{LINK}dely = "1ms"\n')
    path = folder / "mesh.toml"
    assert str(error) == (f"{path}:8: links.a-b.dely: unknown key `dely`, did you mean `delay`?")
    assert (error.path, error.column) == (str(path), 1)


def test_an_unquoted_quantity_gets_a_hint(problems):
    (error,) = problems(f"{LINK}loss = 0.5% # five in a thousand\n")
    assert error.hint == 'write "0.5%" in quotes'


def test_a_broken_property_spoils_no_other(problems):
    assert [e.key for e in problems(f'{LINK}delay = "x"\njitter = "1ms"\n')] == ["links.a-b.delay"]


def test_a_broken_runtime_leaves_the_command_alone(problems):
    text = f'{TOP}[modules.m1]\ncommand = ["x"]\nruntime = "proces"\n'
    assert [e.key for e in problems(text)] == ["modules.m1.runtime"]


def test_hostile_names_are_shown_harmless(problems):
    (error,) = problems(f'{TOP}"\\u001b[31m\\n{LONG}" = 1\n')
    assert "\x1b" not in str(error)
    assert len(str(error)) < 300


def test_not_utf8_names_its_line(problems):
    (error,) = problems(b'name = "m"\n# caf\xe9\n')
    assert (error.line, error.column) == (2, 6)
    assert error.reason == "isn't UTF-8: byte 0xe9"


def test_a_huge_file_is_refused_unread(problems):
    (error,) = problems(b"#" * (4 << 20) + b"\n")
    assert error.reason == "is larger than 4 MiB"


def test_deep_nesting_is_refused(problems):
    (error,) = problems("x = " + "[" * 10_000 + "]" * 10_000)
    assert error.reason == "is nested too deeply"


@pytest.mark.parametrize("start", ["", "[", "[[", "x = { ", "x = [{ "])
def test_very_many_dots_are_refused_at_once(problems, start):
    dots = 'a ."b".' * 100_000
    (error,) = problems(f'name = "m"\n{start}{dots}c = 1')
    assert (error.line, error.reason) == (2, "a key has over 16 dots")


def test_dots_in_values_are_no_keys(read):
    text = f'{TOP}[modules.m1]\nbuild = "asr"\nenv.A = "{"a." * 1000}"\n'
    assert len(read(text).modules[0].env["A"]) == 2000


@pytest.mark.parametrize("path", ["nope.toml", ".", "x\0y", "n" * 300])
def test_what_is_no_file(tmp_path: Path, path: str):
    with pytest.raises(TopologyErrors) as caught:
        load(tmp_path / path)
    assert "can't be read" in str(caught.value)
    assert caught.value.errors[0].line == 1


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_told_at_once(tmp_path, make):
    path = tmp_path / "mesh.toml"
    make(path)
    with pytest.raises(TopologyErrors, match="can't be read: it isn't a regular file") as caught:
        load(path)
    assert [problem.line for problem in caught.value] == [1]


SLIPS = """name = "m"
[hosts.a]
cpu = = 1
dely = 3
[hosts.b]
mem = "1GiB"
[modules.m]
command = ["x"
[[links]]
between = ["a", "b"]
delay = 20ms
[links.reverse]
rate = "5mbit"
[[links]]
between = ["a", "b"]
dely = "20ms"
[modules.n]
cpu = "much"
"""


def test_a_slip_hides_nothing_of_other_tables(problems):
    found = problems(SLIPS)
    assert [(error.line, error.key) for error in found] == [
        (3, ""), (6, "hosts.b.mem"), (8, ""), (11, ""), (16, "links.a-b.dely"),
        (18, "modules.n.cpu"),
    ]  # fmt: skip
    assert [error.reason for error in found if not error.key] == [
        "not valid TOML: Invalid value",
        "not valid TOML: Unclosed array",
        "not valid TOML: Expected newline or end of document after a statement",
    ]
    assert found[3].hint == 'write "20ms" in quotes'


def test_what_broken_tables_would_have_said_is_not_missed(problems):
    text = '[hosts.a]\ncpu = = 1\n[[links]]\nbetween = ["a", "b"]\n[modules.m]\nhost = "a"\n'
    assert [error.line for error in problems(text)] == [2]


def test_what_is_given_twice_does_not_hide_a_slip(problems):
    text = "[hosts.a]\n[hosts.a]\n[hosts.b]\ncpu = = 1\n"
    assert [error.reason for error in problems(text)][:2] == [
        "not valid TOML: declared twice: hosts.a", "not valid TOML: Invalid value",
    ]  # fmt: skip


def test_lines_in_long_strings_are_no_headers(problems):
    text = '[modules.m]\ncommand = ["sh", "-c", """\n[x]\n= =\n"""]\ncpu = = 1\n'
    assert [error.line for error in problems(text)] == [6]
