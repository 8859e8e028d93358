"""Events of modules, and on conditions, as topologies write them; what is wrong, and where."""

from __future__ import annotations

import pytest

from otter_ctl.topology import load

TOP = """\
name = "m"
[hosts.phone]
[hosts.edge]
[hosts.sat]
[hosts.client]
count = 3
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "20ms"
rate = "20mbit"
"""
HOST = f'{TOP}[[events]]\nat = "1s"\nhost = "edge"\n'
RUNS = (
    f'{TOP}[modules.asr]\nhost = "phone"\nimage = "x"\n[modules.vqa]\nhost = "edge"\nimage = "x"\n'
    + (
        '[modules.tts]\nhost = "edge"\nimage = "x"\n[[streams]]\nfrom = "asr.text"\nto = "vqa.in"\n'
        '[[streams]]\nfrom = "asr.text"\nto = "tts.in"\n'
        '[[streams]]\nfrom = "vqa.out"\nto = "tts.more"\n'
    )
)
ASR = f'{RUNS}[[events]]\nat = "1s"\nmodule = "asr"\n'
WHEN = f'{RUNS}[[events]]\nlink = "radio"\nset = {{ up = false }}\n'

CASES = [
    (f'{RUNS}[[events]]\nat = "1s"\nmodule = "asx" # <-\naction = "stop"\n', "events[0].module",
     "unknown module `asx`, did you mean `asr`?"),
    (f'{ASR}action = "stopp" # <-\n', "events[0].action", "is not one of"),
    (f'{ASR}set = {{ rate = "1mbit" }} # <-\n', "events[0].set.rate", "is of links"),
    (f'{ASR}set = {{ cpu = 1 }}\naction = "stop" # <-\n', "events[0].action", "goes not with"),
    (f'{ASR}action = "kill"\nfor = "1s" # <-\n', "events[0].for", "nothing of `kill` lasts"),
    (f'{ASR}set = {{ cpu = 1 }}\nramp = "1s" # <-\n', "events[0].ramp", "`asr` has no cpu"),
    (f'{HOST}action = "stop" # <-\n', "events[0].action", "is of modules"),
    (f"{WHEN}# <-", "events[0]", "missing key `at`"),
    (f"{WHEN}when = {{}} # <-\n", "events[0].when", "doesn't say what it looks at"),
    (f'{WHEN}when = {{ module = "asr" }} # <-\n', "events[0].when", "what is asked of the module"),
    (f'{WHEN}when = {{ module = "asr", stat = "done" }} # <-\n', "events[0].when.stat",
     "did you mean `state`?"),
    (f'{WHEN}when = {{ module = "asr", state = "gone" }} # <-\n', "events[0].when.state",
     "is not one of"),
    (f'{WHEN}when = {{ module = "asr", messages = 1 }} # <-\n', "events[0].when.messages",
     "is of a stream, not of a module"),
    (f'{WHEN}when = {{ module = "asr", host = "edge", state = "done" }} # <-\n', "events[0].when",
     "`module` goes not with `host`"),
    (f'{WHEN}when = {{ module = "asr", state = "done", restarts = 1 }} # <-\n', "events[0].when",
     "`state` goes not with `restarts`"),
    (f'{WHEN}when = {{ module = "as*", state = "done" }} # <-\n', "events[0].when.module", "must"),
    (f'{WHEN}when = {{ module = "asx", state = "done" }} # <-\n', "events[0].when.module",
     "unknown module `asx`, did you mean `asr`?"),
    (f'{WHEN}when = {{ link = "radio", bytes = 0 }} # <-\n', "events[0].when.bytes",
     "must be at least 1 byte"),
    (f'{WHEN}when = {{ host = "client", cpu_above = 1 }} # <-\n', "events[0].when.host",
     "unknown host `client`"),
    (f'{WHEN}when = {{ stream = "asr.text", messages = 1 }} # <-\n', "events[0].when.stream",
     "is sent to several"),
    (f'{WHEN}when = {{ stream = "asr.txt>vqa.in", messages = 1 }} # <-\n', "events[0].when.stream",
     "did you mean `asr.text>vqa.in`?"),
    (f'{WHEN}when = {{ link = "radio:phone>sat", packets = 1 }} # <-\n', "events[0].when.link",
     "has no direction `phone>sat`"),
    (f'{WHEN}when = {{ link = "rad*", packets = 1 }} # <-\n', "events[0].when.link",
     "must name one link"),
    (f'{WHEN}when = {{ link = "radio", packets = 0 }} # <-\n', "events[0].when.packets", "between"),
    (f'{WHEN}when = {{ link = "radio", queue_delay_above = "50" }} # <-\n',
     "events[0].when.queue_delay_above", "unit"),
    (f'{WHEN}when = {{ link = "radio", packets = 5, for = "1s" }} # <-\n', "events[0].when.for",
     "a count only grows"),
    (f'{WHEN}when = {{ link = "radio", use_above = "50%", rearm = "10%" }} # <-\n',
     "events[0].when.rearm", "goes with `again`"),
    (f'{WHEN}when = {{ link = "radio", use_above = "50%", again = true, rearm = "60%" }} # <-\n',
     "events[0].when.rearm", "must not be above"),
    (f'{WHEN}when = {{ link = "radio", use_above = "50%", again = true, rearm = "x" }} # <-\n',
     "events[0].when.rearm", "not"),
    (f'{WHEN}at = "1s"\nwhen = {{ module = "asr", state = "done" }} # <-\n', "events[0].when",
     "goes not with `at`"),
    (f'{WHEN}when = {{ module = "asr", state = "done" }}\nevery = "1s" # <-\n', "events[0].every",
     "goes not with `when`"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "reason"), CASES, ids=range(len(CASES)))
def test_one_problem(one_problem, text, key, reason):
    one_problem(text, key, reason)


def test_what_events_of_modules_and_conditions_say(tmp_path):
    (tmp_path / "mesh.toml").write_text(
        f'{ASR}action = "pause"\nfor = "2s"\n'
        '[[events]]\nmodule = ["asr", "v*"]\naction = "restart"\n'
        'when = { stream = "vqa.out", messages = 100, again = true }\n'
        '[[events]]\nlink = "radio"\nset = { up = false }\n'
        'when = { link = "radio:phone>edge", queue_delay_above = "50ms", for = "2s" }\n'
    )
    pause, restart, down = load(tmp_path / "mesh.toml").events
    assert (pause.modules, pause.change.values) == (("asr",), {"run": "paused"})
    assert pause.text == "asr: pause for 2s"
    assert (restart.modules, restart.action) == (("asr", "vqa"), "restart")
    assert restart.when is not None
    assert restart.when.name == "vqa.out>tts.more"
    assert restart.when.text == "vqa.out>tts.more brought 100 messages, each time"
    assert down.when is not None
    assert (down.when.direction, down.when.bound, down.when.for_s) == ("phone>edge", 0.05, 2.0)
    assert down.when.text == "packets wait for radio:phone>edge longer than 50ms for 2s"


def test_a_count_of_bytes_may_be_small(tmp_path):
    (tmp_path / "mesh.toml").write_text(f'{WHEN}when = {{ link = "radio", bytes = "100kB" }}\n')
    (event,) = load(tmp_path / "mesh.toml").events
    assert event.when is not None
    assert (event.when.bound, event.when.text) == (100_000.0, "radio passed 100kB")


@pytest.mark.parametrize("event", ['when = { link = "radio:edge>sat", packets = 1 }', 'at = "1s"'])
def test_directions_that_there_are_are_told_as_they_are_written(problems, event):
    link = "radio:edge>sat" if event.startswith("at") else "radio"
    text = f'{TOP}[[events]]\nlink = "{link}"\nset = {{ up = false }}\n{event}\n'
    (error,) = problems(text)
    assert str(error).endswith("has no direction `edge>sat`; it has phone>edge, edge>phone")
