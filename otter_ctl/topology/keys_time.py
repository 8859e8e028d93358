"""Keys of what changes over time: traces and events. Pure data."""

from __future__ import annotations

from net.links.traces.generate import MODELS
from net.links.traces.read import FORMATS
from otter_ctl.topology import kinds, values
from otter_ctl.topology.keys_when import WHEN
from otter_ctl.topology.reader import Key, Table

SCALE = Table(
    "scale",
    Key("rate", kinds.number(1e-6, 1e6), "What rates are multiplied with."),
    Key("delay", kinds.number(0, 1e6), "What delays and jitters are multiplied with."),
    Key("loss", kinds.number(0, 1e6), "What losses are multiplied with; 100% at most."),
    Key("time", kinds.number(1e-3, 1e6), "What times are: 2 plays it half as fast."),
)

TRACE = Table(
    "trace",
    Key("file", values.PATH, "The file, instead of `generate`."),
    Key("format", kinds.choice(*FORMATS), "How it is written; guessed if left out."),
    Key("columns", values.TEXTS, "CSV: what headers of others are to be read as."),
    Key("bin", values.WAIT, "mahimahi: play it as a rate, counted over so long."),
    Key("generate", kinds.choice(*MODELS), "A model to draw the trace from, instead of `file`."),
    Key("seed", kinds.integer(0, 2**63 - 1), "Of the drawing; else of the mesh's and the link's."),
    Key("length", values.WAIT, "How much is drawn."),
    Key("step", values.WAIT, "random-walk, diurnal: between two values."),
    Key("rates", kinds.array(values.RATE, least=1), "markov: all rates; else lowest, highest."),
    Key("delays", kinds.array(values.DURATION, least=1), "handover: lowest and highest delay."),
    Key(
        "every",
        values.WAIT,
        "markov: mean stay at a rate; handover: between two; diurnal: the day.",
    ),
    Key("gap", values.WAIT, "handover: how long the link is down."),
    Key("change", values.RATIO, "random-walk: of one step; diurnal: of the noise."),
    Key("loop", values.BOOLEAN, "Whether it begins again after its end.", default=True),
    Key("offset", values.DURATION, "Where in the trace to begin."),
    Key("scale", values.one_of(kinds.number(1e-6, 1e6), kinds.table(SCALE)), "Times the rate."),
)

TRACE_KEY = Key(
    "trace",
    values.short_table(TRACE, "file"),
    "What the link was like over time: a file, or a model; none: no trace.",
)

BUDGET_TRACE = Key(
    "trace",
    values.short_table(TRACE, "file"),
    "Its budget over time: a file with `cpu`, `memory`, …; or rates, of which 1mbit is one core.",
)

ACTIONS = ("start", "stop", "restart", "kill", "pause")

ATTACH = Table(
    "attach",
    Key("cell", kinds.NAME, "The cell that it comes into.", required=True),
    Key("gap", values.DURATION, "How long it is in none.", default="0s"),
)


def event_table(properties: Table) -> Table:
    """`[[events]]`, whose `set` takes `properties`."""
    return Table(
        "events",
        Key("at", values.DURATION, "When it begins, from the epoch."),
        Key("when", kinds.table(WHEN), "A condition that it waits for, instead of a time."),
        Key(
            "link",
            kinds.one_or_many(values.WAY),
            "The links it happens to; of one direction: `radio:phone>edge`.",
        ),
        Key("cell", kinds.one_or_many(values.REFERENCE), "The cells it happens to, instead."),
        Key(
            "host",
            kinds.one_or_many(values.REFERENCE),
            "The hosts it happens to, instead of `link`; globs name many.",
        ),
        Key(
            "module",
            kinds.one_or_many(values.REFERENCE),
            "The modules it happens to, instead of `link`; globs name many.",
        ),
        Key("attach", kinds.table(ATTACH), "Handover of `host` to another cell."),
        Key("action", kinds.choice(*ACTIONS), "What is done to `module`, instead of `set`."),
        Key(
            "set",
            values.not_empty(kinds.table(properties)),
            "Properties that it changes; all else stays.",
        ),
        Key("reset", kinds.scalar(kinds.only_true, const=True), "Undo what events have set."),
        Key("for", values.WAIT, "How long it holds; else until something else is said."),
        Key("every", values.WAIT, "After which it happens again, and again."),
        Key("ramp", values.WAIT, "For how long values are led to what is set, in steps of 50ms."),
    )
