"""`--set` changes any key, is checked like the file, and is named in errors."""

from __future__ import annotations

import pytest

from net.links.spec import LinkSpec

TEXT = """\
name = "m"
[hosts.phone]
[hosts.edge]
[[links]]
between = ["phone", "edge"]
[[links]]
name = "radio"
from = "phone"
to = "edge"
rate = "20mbit"
[modules.asr]
build = "asr"
[modules.vqa]
build = "asr"
[[streams]]
from = "asr.text"
to = "vqa.question"
"""


def test_links_by_name_or_by_their_hosts(read):
    first, radio = read(TEXT, "links.radio.rate=5mbit", 'links.phone-edge.delay="1ms"').links
    assert radio.forward == LinkSpec(rate_bps=5e6)
    assert first.forward == LinkSpec(delay_s=0.001) == first.reverse


def test_streams_by_name_quoted_or_not(read):
    assert read(TEXT, "streams.asr.text>vqa.question.queue=3").streams[0].queue == 3
    assert read(TEXT, 'streams."asr.text>vqa.question".queue = 4').streams[0].queue == 4


def test_any_key(read):
    topology = read(
        TEXT,
        "seed=9",
        "hosts.edge.cpu=0.5",
        "name=other",
        "modules.asr.outputs=['*.txt', 'a']",
        "modules.asr.env.PORT=8080",
        "modules.asr.env.WORD=plain = text",
        'modules.asr.env.QUOTED="x"',
        "defaults.host.memory=1GiB",
    )
    asr = topology.modules[0]
    assert (topology.seed, topology.name, topology.hosts[1].cpu) == (9, "other", 0.5)
    assert topology.hosts[0].memory_bytes == 1 << 30
    assert asr.outputs == ("*.txt", "a")
    assert asr.env == {"PORT": "8080", "WORD": "plain = text", "QUOTED": "x"}


def test_the_last_one_wins(read):
    assert read(TEXT, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("links.radio.rate=5mbt", "links.radio.rate: '5mbt' is not a rate"),
        ("links.radio.rat=5mbit", "links.radio.rat: unknown key `rat`, did you mean `rate`?"),
        ("links.raido.rate=5mbit", "there is no link `raido`, did you mean `radio`?"),
        ("links.0.rate=5mbit", "there is no link `0`"),
        ("hosts.egde.cpu=1", "there is no host `egde`, did you mean `edge`?"),
        ("modules.x.cpu=1", "there is no module `x`"),
        ("streams.x.queue=1", "there is no stream `x`"),
        ("links.radio=5", "must name a key of it, such as links.radio.rate=5mbit"),
        ("links=5", "links: must be an array of tables, not an integer"),
        ("hosts.phone=5", "hosts.phone: must be a table, not an integer"),
        ("name.x=1", "`name` is not a table"),
        ("links.radio.rate.x=1", "`rate` is not a table"),
        ("seed", "must be KEY=VALUE, such as links.radio.rate=5mbit"),
        ("=1", "must be KEY=VALUE, such as links.radio.rate=5mbit"),
        ("", "must be KEY=VALUE, such as links.radio.rate=5mbit"),
        ("a..b=1", "must be KEY=VALUE, such as links.radio.rate=5mbit"),
        ("seed=", "seed: must be an integer, not a string"),
        ("seed=1\nname='x'", "seed: must be an integer, not a string"),
        ("seed=\ud800", "isn't UTF-8"),
        ("trace=1", "trace: unknown key `trace`"),
        ("links.radio.trace=x", "links.radio.trace: x: can't be read: No such file or directory"),
    ],
)
def test_problems_name_the_text(problems, text, message):
    (error,) = problems(TEXT, "seed=1", text)
    assert error.line >= 1
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    assert error.override == shown
    assert str(error).startswith(f"--set {shown}: {message}")


def test_problems_of_file_and_overrides_together(problems):
    found = problems(TEXT.replace("build", "bulid", 1), "seed=x")
    assert [(e.line, e.override) for e in found] == [(11, None), (12, None), (1, "seed=x")]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "hosts.client-2.cpu=1",
            "no host `client-2` in the file; the table `client` makes",
        ),
        ("modules.m-client-2.cpu=1", "no module `m-client-2` in the file; the table `m` makes"),
        (
            "links.client-1-hub.rate=1mbit",
            "no link `client-1-hub` in the file; the table `cl",
        ),
        ("links.radio-client-1.rate=1mbit", "the table `radio` makes several: what is set there"),
        ("streams.m-client-1.a>s.b.queue=1", "there is no stream `m-client-1.a>s.b`"),
        ("hosts.clinet.cpu=1", "there is no host `clinet`, did you mean `client`?"),
    ],
)
def test_what_a_table_with_many_makes_is_set_there(problems, override, said):
    text = (
        'name = "m"\n[hosts.client]\ncount = 2\n[hosts.hub]\n[modules.s]\nbuild = "asr"\n'
        '[modules.m]\nbuild = "asr"\nhost = "client-*"\n'
        '[[links]]\nbetween = ["client-*", "hub"]\n'
        '[[links]]\nname = "radio"\nbetween = ["client-*", "hub"]\n'
        '[[streams]]\nfrom = "m-*.a"\nto = "s.b"\n'
    )
    (error,) = problems(text, override)
    assert said in str(error)


@pytest.mark.parametrize("override", ["events.0.at=5s", "events.at=5s"])
@pytest.mark.parametrize("there", [True, False])
def test_events_have_no_names_and_that_is_said(problems, override, there):
    text = 'name = "m"\n[hosts.a]\n[hosts.b]\n[[links]]\nbetween = ["a", "b"]\n'
    if there:
        text += '[[events]]\nat = "1s"\nlink = "a-b"\nset = { delay = "1ms" }\n'
    (error,) = problems(text, override)
    assert "events have no names to set one of them by" in str(error)
    assert "--set reaches what has a name: hosts, modules" in str(error)
