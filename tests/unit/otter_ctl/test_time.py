"""What changes over time: `trace` of links and `[[events]]`, from text to what the agent gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest

from net.links.changes import Change
from net.links.traces.codec import decode
from net.links.traces.generate import Recipe
from otter_agent import api
from otter_ctl.planning.diff import diff
from otter_ctl.planning.resolve import plan
from otter_ctl.planning.uploads import collect, contents
from otter_ctl.topology.schema import json_schema

TOP = """\
name = "m"
seed = 7
[hosts.phone]
[hosts.edge]
[hosts.sat]
[hosts.client]
count = 3
[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "20ms"
jitter = "2ms"
rate = "20mbit"
"""
MORE = (
    '[[links]]\nname = "c"\nbetween = ["client-*", "edge"]\n[[links]]\nfrom = "sat"\nto = "edge"\n'
)
EVENT = f'{TOP}{MORE}[[events]]\nat = "1s"\nlink = "radio"\n'
HOST = f'{TOP}[[events]]\nat = "1s"\nhost = "edge"\n'
SET = f'{EVENT}set = {{ rate = "1mbit" }}\n'


@pytest.fixture
def traces(folder):
    (folder / "traces").mkdir()
    (folder / "traces" / "lte.csv").write_text("time,rate_mbit,delay_ms\n0,20,30\n1,5,60\n")
    (folder / "traces" / "cell.mm").write_text("5\n10\n250\n")
    (folder / "traces" / "unsorted").write_text("0 1\n2 1\n1 1\n")
    (folder / "traces" / "gappy").write_text("".join(f"{t} 1\n" for t in (0, 1, 2, 3, 99)))
    return folder


def planned(topology, current=None):
    blobs = collect(topology)
    made = plan(topology, current=current, runtime_default="fake", blobs=blobs, run="r")
    return made, contents(blobs)


def test_a_trace_by_its_path_is_played_both_ways(read, traces):
    spec, uploads = planned(read(f'{TOP}trace = "traces/lte.csv"\n'))
    forward, reverse = spec.spec.timeline.traces
    assert (forward.link, forward.way, reverse.way) == ("radio", "forward", "reverse")
    assert forward.name == "traces/lte.csv"
    assert forward.blob == reverse.blob
    assert spec.spec.blobs() == {forward.blob} == {*uploads}
    trace = decode(uploads[forward.blob]())
    assert list(trace.columns["rate_bps"]) == [20e6, 5e6]
    assert forward.loop
    assert forward.without == ()


def test_what_reverse_says_itself_its_trace_leaves_alone(read, traces):
    text = f'{TOP}trace = "traces/lte.csv"\nreverse = {{ rate = "5mbit" }}\n'
    forward, reverse = planned(read(text))[0].spec.timeline.traces
    assert forward.without == ()
    assert reverse.without == ("rate_bps",)


def test_another_trace_for_the_way_back_or_none(read, traces):
    text = f'{TOP}trace = "traces/lte.csv"\nreverse = {{ trace = "traces/cell.mm" }}\n'
    names = [t.name for t in planned(read(text))[0].spec.timeline.traces]
    assert names == ["traces/lte.csv", "traces/cell.mm"]
    text = f'{TOP}trace = "traces/lte.csv"\nreverse = {{ trace = "none" }}\n'
    assert [t.way for t in planned(read(text))[0].spec.timeline.traces] == ["forward"]


def test_how_a_trace_is_played(read, traces):
    text = f"""{TOP}[links.trace]
file = "traces/lte.csv"
loop = false
offset = "1s"
scale = {{ rate = 0.5, delay = 2, time = 3 }}
"""
    use = planned(read(text))[0].spec.timeline.traces[0]
    assert (use.loop, use.offset_s) == (False, 1.0)
    assert use.scale == {"rate_bps": 0.5, "delay_s": 2.0, "time": 3.0}
    assert use.manner().scale == use.scale


def test_traces_are_relative_to_the_file_that_names_them(read, traces):
    (traces / "base").mkdir()
    (traces / "traces" / "lte.csv").rename(traces / "base" / "lte.csv")
    (traces / "base" / "base.toml").write_text('[defaults.link]\ntrace = "lte.csv"\n')
    spec, _ = planned(read(f'include = ["base/base.toml"]\n{TOP}'))
    assert [t.name for t in spec.spec.timeline.traces] == ["lte.csv", "lte.csv"]


def test_events_of_included_files_come_first(read, folder):
    (folder / "base.toml").write_text('[[events]]\nat = "1s"\nlink = "radio"\nreset = true\n')
    topology = read('include = ["base.toml"]\n' + SET)
    assert [event.text for event in topology.events] == ["radio: reset", "radio: rate 1mbit"]


def test_the_page_of_time_is_right(read, traces):
    page = (Path(__file__).parents[3] / "docs" / "time.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (traces / "traces" / "lte-drive.csv").write_text("0 1\n1 2\n")
    (traces / "5g.csv").write_text("Timestamp,State,DL_bitrate\n0,D,1000\n1,I,2000\n")
    assert len(read(blocks[0]).events) == 1
    streams = '[[streams]]\nfrom = "asr.text"\nto = "vqa.question"\n'
    modules = "".join(f'[modules.{m}]\nhost = "phone"\nimage = "x"\n' for m in ("asr", "vqa"))
    for block in blocks[1:]:
        topology = read(f"{TOP}{block}{modules}{streams}")
        assert topology.links[0].forward_trace or topology.events


def test_opportunities_travel_with_their_rate_unless_it_is_said_how_they_become_one(read, traces):
    spec, uploads = planned(read(f'{TOP}trace = "traces/cell.mm"\n'))
    use = spec.spec.timeline.traces[0]
    assert use.opportunities
    assert list(decode(uploads[use.blob]()).opportunities_s) == [0.005, 0.01, 0.25]

    text = f'{TOP}trace = {{ file = "traces/cell.mm", bin = "50ms" }}\n'
    spec, uploads = planned(read(text))
    use = spec.spec.timeline.traces[0]
    trace = decode(uploads[use.blob]())
    assert not use.opportunities
    assert trace.opportunities_s is None
    assert list(trace.times_s) == [0, 0.05]


def test_who_sets_the_rate_back_wants_no_opportunities_there(read, traces):
    text = f'{TOP}trace = "traces/cell.mm"\nreverse = {{ rate = "1mbit" }}\n'
    uses = planned(read(text))[0].spec.timeline.traces
    assert {use.way: use.opportunities for use in uses} == {"forward": True, "reverse": False}


def test_drawn_traces_differ_from_link_to_link_and_not_from_plan_to_plan(read):
    table = 'trace = { generate = "markov", rates = ["1mbit", "9mbit"] }\n'
    text = f'{TOP}{table}[[links]]\nbetween = ["client-*", "edge"]\n{table}'
    uses = planned(read(text))[0].spec.timeline.traces
    by_link = {use.link: use.blob for use in uses}
    assert len(uses) == 8
    assert len({*by_link.values()}) == 4  # one each, the same both ways
    assert uses == planned(read(text))[0].spec.timeline.traces
    others = planned(read(text.replace("seed = 7", "seed = 8")))[0].spec.timeline.traces
    assert not {u.blob for u in others} & {u.blob for u in uses}


def test_a_seed_of_its_own_makes_them_one(read):
    table = 'trace = { generate = "markov", rates = ["1mbit", "9mbit"], seed = 3, every = "5s" }\n'
    topology = read(f"{TOP}{table}[[links]]\nbetween = ['client-*', 'edge']\n{table}")
    traces = {link.forward_trace.trace for link in topology.links}
    assert traces == {Recipe(model="markov", rates_bps=(1e6, 9e6), seed=3, every_s=5.0)}
    assert len({u.blob for u in planned(topology)[0].spec.timeline.traces}) == 1


def test_gaps_are_warned_of_once(read, traces):
    made, _ = planned(read(f'{TOP}trace = "traces/gappy"\n'))
    assert [w for w in made.warnings if "says nothing" in w] == [
        "traces/gappy:5: says nothing from 3 s to 99 s: what holds before goes on holding"
    ]


def test_events(read):
    text = f"""{SET}for = "5s"
every = "30s"
[[events]]
at = "2s"
link = ["c-*", "radio:edge>phone", "sat-edge"]
reset = true
[[events]]
at = "3s"
link = "radio"
set = {{ queue = "100 packets", up = false }}
[[events]]
at = "4s"
link = "*:*>edge"
set = {{ loss = "50%" }}
ramp = "2s"
"""
    topology = read(text)
    first, second, third, fourth = topology.events
    assert (first.both, first.forward, first.reverse) == (("radio",), (), ())
    assert (first.at_s, first.for_s, first.every_s) == (1.0, 5.0, 30.0)
    assert first.change == Change.of(rate_bps=1e6)
    assert first.text == "radio: rate 1mbit for 5s"
    assert second.both == ("c-client-1", "c-client-2", "c-client-3")
    assert (second.forward, second.reverse) == (("sat-edge",), ("radio",))
    assert second.text == "c-*, radio:edge>phone, sat-edge: reset"
    assert third.change.values["queue_packets"] == 100
    assert third.change.values["up"] is False
    assert fourth.forward == ("radio", "c-client-1", "c-client-2", "c-client-3", "sat-edge")
    assert fourth.text == "*:*>edge: loss 50% by a ramp of 2s"
    spec = planned(topology)[0].spec
    api.check(spec)
    again = api.decode(api.encode(spec), api.MeshSpec)
    assert again == spec
    timed = again.timeline.events[2].timed(2)
    assert timed.change == third.change


def test_events_of_hosts(read):
    text = f"""{TOP}[[events]]
at = "1s"
host = ["client-*", "edge"]
set = {{ cpu = 0.5, memory = "512MiB" }}
for = "5s"
"""
    topology = read(text)
    (event,) = topology.events
    assert event.hosts == ("client-1", "client-2", "client-3", "edge")
    assert event.change.values == {"cpu": 0.5, "memory_bytes": 512 << 20}
    assert event.text == "client-*, edge: cpu 0.5, memory 512MiB for 5s"
    spec = planned(topology)[0].spec
    api.check(spec)
    assert api.decode(api.encode(spec), api.MeshSpec) == spec
    for wrong in ({"cpu": -1.0}, {"cpu": "much"}, {"rate_bps": 1e6}):
        spoilt = msgspec.structs.replace(spec.timeline.events[0], change=wrong)
        with pytest.raises(msgspec.ValidationError):
            api.check(msgspec.structs.replace(spec, timeline=api.TimelineSpec(events=(spoilt,))))


CASES = [
    (f"{TOP}trace = 5 # <-\n", "links.radio.trace", "must be a path or a table"),
    (f'{TOP}trace = "no.csv" # <-\n', "links.radio.trace", "no.csv: can't be read: No such file"),
    (
        f'{TOP}trace = "traces/unsorted" # <-\n', "links.radio.trace",
        "traces/unsorted:3: time 1 comes after 2",
    ),
    (
        f'{TOP}trace = {{ file = "traces/lte.csv", format = "rtt" }} # <-\n', "links.radio.trace",
        "traces/lte.csv:1: 'time,rate_mbit,delay_ms' is not two numbers",
    ),
    (f"{TOP}trace = {{ loop = true }} # <-\n", "links.radio.trace", "missing key `file`"),
    (
        f'{TOP}trace = {{ file = "traces/lte.csv", generate = "markov" }} # <-\n', "links.radio",
        "`file` goes not with `generate`",
    ),
    (
        f'{TOP}[links.trace]\nfile = "traces/lte.csv"\nbin = "1s" # <-\n', "links.radio.trace.bin",
        "goes only with the format mahimahi, this is csv",
    ),
    (
        f'{TOP}[links.trace]\nfile = "traces/lte.csv"\nseed = 1 # <-\n', "links.radio.trace.seed",
        "goes only with `generate`",
    ),
    (
        f'{TOP}[links.trace]\ngenerate = "diurnal"\nrates = ["1mbit", "2mbit"]\n'
        'format = "csv" # <-\n',
        "links.radio.trace.format", "goes only with `file`",
    ),
    (
        f'{TOP}[links.trace]\nfile = "traces/lte.csv"\nscale = {{ loss = 2 }} # <-\n',
        "links.radio.trace.scale", "scales `loss`, and the trace has only delay, rate",
    ),
    (
        f'{TOP}[links.trace]\nfile = "traces/lte.csv"\noffset = "1" # <-\n',
        "links.radio.trace.offset", "a unit is missing",
    ),
    (
        f'{TOP}[links.trace] # <-\ngenerate = "markov"\n', "links.radio.trace",
        "`rates` needs at least two rates",
    ),
    (
        f'{TOP}[links.trace]\ngenerate = "markov"\nrates = ["0bit", "1mbit"] # <-\n',
        "links.radio.trace.rates", "must be above 0",
    ),
    (f'{TOP}trace = {{ generate = "x" }} # <-\n', "links.radio.trace.generate", "is not one of"),
    (f"{EVENT}# <-", "events[0]", "missing key `set`"),
    (f'{TOP}[[events]] # <-\nat = "1s"\nreset = true\n', "events[0]", "missing key `link`"),
    (f'{TOP}[[events]] # <-\nlink = "radio"\nreset = true\n', "events[0]", "missing key `at`"),
    (f'{EVENT}set = {{ }} # <-\n', "events[0].set", "must not be empty"),
    (f'{EVENT}set = {{ rat = "1mbit" }} # <-\n', "events[0].set.rat", "did you mean `rate`?"),
    (f'{EVENT}set = {{ rate = "0bit" }} # <-\n', "events[0].set.rate", "must be above 0"),
    (f'{EVENT}set = {{ loss = "101%" }} # <-\n', "events[0].set.loss", "over the limit"),
    (f'{EVENT}set = {{ jitter = "21ms" }} # <-\n', "events[0].set.jitter", "above the delay"),
    (f'{EVENT}set = {{ delay = "1ms" }} # <-\n', "events[0].set", "`jitter` must not be above"),
    (f'{EVENT}set = {{ trace = "x" }} # <-\n', "events[0].set.trace", "unknown key `trace`"),
    (f"{EVENT}reset = false # <-\n", "events[0].reset", "must be true"),
    (f'{EVENT}reset = true\nfor = "1s" # <-\n', "events[0].for", "goes only with `set`"),
    (f'{SET}every = "1us" # <-\n', "events[0].every", "at least 1ms"),
    (f'{SET}for = "1s"\nramp = "2s" # <-\n', "events[0].ramp", "no longer than `for`"),
    (
        f'{EVENT}set = {{ up = false }}\nramp = "2s" # <-\n', "events[0].ramp",
        "goes only with delay, jitter, loss, rate and cpu",
    ),
    (
        f'{TOP}{MORE}[[events]]\nat = "1s"\nlink = "c-client-1"\nset = {{ rate = "1mbit" }}\n'
        'ramp = "1s" # <-\n', "events[0].ramp", "link `c-client-1` has no rate",
    ),
    (
        f'{TOP}[[events]]\nat = "1s"\nlink = "rado" # <-\nreset = true\n', "events[0].link",
        "unknown link `rado`, did you mean `radio`?",
    ),
    (
        f'{TOP}[[events]]\nat = "1s"\nlink = ["radio", "x-*"] # <-\nreset = true\n',
        "events[0].link[1]", "`x-*` matches no link",
    ),
    (
        f'{TOP}[[events]]\nat = "1s"\nlink = "radio:phone>sat" # <-\nreset = true\n',
        "events[0].link", "link `radio` has no direction `phone>sat`",
    ),
    (
        f'{TOP}{MORE}[[events]]\nat = "1s"\nlink = "sat-edge:edge>sat" # <-\nreset = true\n',
        "events[0].link", "link `sat-edge` has no direction `edge>sat`",
    ),
    (
        f'{TOP}[[events]]\nat = "1s"\nlink = "radio:phone" # <-\nreset = true\n',
        "events[0].link", "`radio:phone` must name both ends",
    ),
    (
        f'{TOP}[[events]] # <-\nat = "1s"\nlink = "radio"\nhost = "edge"\nreset = true\n',
        "events[0]", "`link` goes not with `host`",
    ),
    (f'{HOST}set = {{ cpu = 0 }} # <-\n', "events[0].set.cpu", "must be between"),
    (f'{HOST}set = {{ rate = "1mbit" }} # <-\n', "events[0].set.rate", "is of links"),
    (f'{EVENT}set = {{ cpu = 0.5 }} # <-\n', "events[0].set.cpu", "is of hosts"),
    (f'{HOST}set = {{ io = {{}} }} # <-\n', "events[0].set.io", "must say what it changes"),
    (
        f'{HOST}set = {{ cpu = 0.5 }}\nramp = "1s" # <-\n', "events[0].ramp",
        "host `edge` has no cpu",
    ),
    (
        f'{TOP}[[events]]\nat = "1s"\nhost = ["edge", "x-*"] # <-\nreset = true\n',
        "events[0].host[1]", "`x-*` matches no host",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "reason"), CASES, ids=range(len(CASES)))
def test_one_problem(one_problem, traces, text, key, reason):
    one_problem(text, key, reason)


def test_a_bad_trace_is_told_at_every_link_that_names_it_but_read_once(problems, traces):
    text = f'{TOP}trace = "traces/unsorted"\n[[links]]\nbetween = ["sat", "edge"]\n'
    found = problems(text + 'trace = "traces/unsorted"\n')
    assert [(e.key, "comes after" in e.reason) for e in found] == [
        ("links.radio.trace", True), ("links.sat-edge.trace", True),
    ]  # fmt: skip


def test_what_changes_is_told_per_event_and_trace(read, traces):
    plain = planned(read(TOP))[0].spec
    timed = planned(read(f'{SET}[[events]]\nat = "2s"\nlink = "radio"\nreset = true\n'))[0].spec
    same = diff(plain, plain)
    assert same == []
    fields = {f.field: (f.old, f.new) for c in diff(plain, timed) for f in c.fields}
    assert fields["events[0]"][0] is None
    assert fields["events[0]"][1]["text"] == "radio: rate 1mbit"
    other = planned(read(f'{EVENT}set = {{ rate = "2mbit" }}\n'))[0].spec
    (change,) = [c for c in diff(timed, other) if c.subject == "mesh"]
    texts = {f.field: (f.old, f.new) for f in change.fields}
    assert texts["events[0]"] == ("radio: rate 1mbit", "radio: rate 2mbit")
    assert texts["events[1]"][1] is None
    assert not change.restart
    traced = planned(read(f'{TOP}trace = "traces/lte.csv"\n'))[0].spec
    (change,) = diff(plain, traced)
    assert [f.field for f in change.fields] == ["traces.radio.forward", "traces.radio.reverse"]


def test_editors_know_the_keys(traces):
    schema = json_schema()
    check = jsonschema.Draft202012Validator(schema)
    good = {
        "name": "m", "hosts": {"a": {}, "b": {}},
        "links": [{"between": ["a", "b"], "trace": {"generate": "markov", "rates": ["1mbit"]}}],
        "events": [{"at": "1s", "link": "a-b:a>b", "set": {"up": False}}],
    }  # fmt: skip
    assert list(check.iter_errors(good)) == []
    bad = json.loads(json.dumps(good))
    bad["events"][0]["link"] = "a-b:a"
    assert list(check.iter_errors(bad))
    bad = json.loads(json.dumps(good))
    bad["links"][0]["trace"] = {"generate": "x"}
    assert list(check.iter_errors(bad))


@pytest.mark.parametrize(
    "spoil",
    [
        {"both": ("rado",)},
        {"change": {"colour": 1}},
        {"change": {"rate_bps": "fast"}},
        {"change": {}},
        {"at_s": -1.0},
        {"ramp_s": 9.0, "for_s": 1.0},
    ],
)
def test_the_agent_takes_no_events_that_make_no_sense(read, spoil):
    spec = planned(read(SET))[0].spec
    event = msgspec.structs.replace(spec.timeline.events[0], **spoil)
    with pytest.raises(msgspec.ValidationError):
        api.check(msgspec.structs.replace(spec, timeline=api.TimelineSpec(events=(event,))))


@pytest.mark.parametrize(
    "spoil",
    [
        {"link": "rado"},
        {"blob": "../x"},
        {"offset_s": -1.0},
        {"scale": {"rate_bps": -1.0}},
        {"scale": {"time": 0.0}},
    ],
)
def test_the_agent_takes_no_traces_that_make_no_sense(read, traces, spoil):
    spec = planned(read(f'{TOP}trace = "traces/lte.csv"\n'))[0].spec
    trace = msgspec.structs.replace(spec.timeline.traces[0], **spoil)
    with pytest.raises(msgspec.ValidationError):
        api.check(msgspec.structs.replace(spec, timeline=api.TimelineSpec(traces=(trace,))))


CORES = """\
name = "m"
seed = 7
[hosts.phone]
cpu = 1
trace = "traces/cores.csv"
[hosts.edge]
count = 2
trace = { generate = "random-walk", rates = ["0.5mbit", "2mbit"], length = "10s", step = "1s" }
[modules.asr]
command = ["true"]
host = "phone"
runtime = "process"
trace = { file = "traces/lte.csv", scale = 0.05, loop = false }
"""
SLOWER = CORES.replace("cores.csv", "slow.csv").replace("cpu = 1", "speed = 0.3")


def test_hosts_and_modules_play_traces_as_their_cores(read, traces):
    (traces / "traces" / "cores.csv").write_text("time,cpu\n0,1\n5,0.25\n")
    uses = {use.subject: use for use in planned(read(CORES))[0].spec.timeline.traces}
    assert list(uses) == ["host.phone", "host.edge-1", "host.edge-2", "module.asr"]
    assert uses["host.edge-1"].blob != uses["host.edge-2"].blob  # each drawn by itself
    assert (uses["module.asr"].loop, uses["module.asr"].scale) == (False, {"rate_bps": 0.05})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CORES.replace("cores.csv", "late.csv"), "the trace has neither `cpu` or more of a"),
        (TOP + 'trace = "traces/cores.csv"\n', "the trace has only `cpu`, which is of hosts and"),
        (CORES.replace("cores.csv", "slow.csv"), "cores of speed 0.4: the host's `speed` must be"),
        (SLOWER, "cores of speed 0.4: the host's `speed` must be no less"),
        (CORES.replace('lte.csv", scale = 0.05', 'slow.csv"'), "`speed`, which is of hosts"),
    ],
)
def test_a_trace_that_says_nothing_of_its_subject_is_refused(problems, traces, text, said):
    (traces / "traces" / "cores.csv").write_text("time,cpu\n0,1\n5,0.25\n")
    (traces / "traces" / "late.csv").write_text("time,delay_ms\n0,1\n5,25\n")
    (traces / "traces" / "slow.csv").write_text("time,speed\n0,0.4\n5,0.1\n")
    (found,) = problems(text)
    assert said in found.reason
