"""Properties of links: keys of a topology <-> fields of `LinkSpec`. Pure.

What they mean stands in `net.links.spec`; here is how they are written. Must not know: links.
"""

from __future__ import annotations

from typing import Any

from net import units
from net.links.spec import TABLE_LIMIT, TABLE_RANGE
from otter_ctl.topology import kinds, values
from otter_ctl.topology.reader import INVALID, Bad, Fields, Key, Kind, Place, shown


def _chances(least: int, rest: tuple[float, ...]) -> Kind:
    """An array of ratios; those left out at its end are `rest`'s."""
    most = least + len(rest)

    def parse(value: object, place: Place) -> Any:
        if not isinstance(value, list) or not least <= len(value) <= most:
            count = f"{least}" if least == most else f"{least} to {most}"
            raise Bad(f"must be an array of {count} chances, such as {['1%', '30%']}")
        found = [place.child(i).read(values.RATIO, raw) for i, raw in enumerate(value)]
        return INVALID if INVALID in found else (*found, *rest[len(found) - least :])

    schema = {"items": values.RATIO.schema, "minItems": least, "maxItems": most}
    return Kind(parse, {"type": "array", **schema})


def _slot(value: object, place: Place) -> Any:
    if not isinstance(value, list):
        time = values.DURATION.parse(value, place)
        return (time, time)
    if len(value) != 2:
        raise Bad('must be a time, or the shortest and the longest: ["5ms", "20ms"]')
    found = [place.child(i).read(values.DURATION, raw) for i, raw in enumerate(value)]
    return INVALID if INVALID in found else tuple(found)


def _table(value: object, place: Place) -> Any:
    if not isinstance(value, list) or not 2 <= len(value) <= TABLE_LIMIT:
        raise Bad(f"must be an array of 2 to {TABLE_LIMIT} numbers")
    number = kinds.number(-TABLE_RANGE, TABLE_RANGE)
    found = [place.child(i).read(number, raw) for i, raw in enumerate(value)]
    return INVALID if INVALID in found else tuple(found)


_PAIR = {"type": "array", "items": values.DURATION.schema, "minItems": 2, "maxItems": 2}
SLOT = Kind(_slot, {"anyOf": [values.DURATION.schema, _PAIR]})
TABLE = Kind(
    _table,
    {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": TABLE_LIMIT},
)
SIZE = kinds.quantity(
    units.size,
    units.SIZE_ACCEPTS,
    units.SIZE_PATTERN,
    plain={"type": ["string", "integer"], "minimum": 1},
    least=1,
    limit="at least 1 byte",
)
GILBERT = _chances(2, (1.0, 0.0))
MARKOV = _chances(5, ())

PROPERTIES = (
    Key("delay", values.DURATION, "One-way delay."),
    Key("jitter", values.DURATION, "Standard deviation of the delay, at most the delay."),
    Key(
        "jitter_distribution",
        kinds.choice("uniform", "normal", "pareto", "paretonormal"),
        "How delays are spread; of uniform, `jitter` is half the width.",
        default="normal",
    ),
    Key("jitter_table", TABLE, "Deviations in units of `jitter` to draw from, instead."),
    Key("jitter_correlation", values.RATIO, "Of a packet's delay with the one before."),
    Key("loss", values.RATIO, "Share of packets lost."),
    Key("loss_correlation", values.RATIO, "Of a loss with that of the packet before."),
    Key(
        "loss_gilbert",
        GILBERT,
        "Bursts: chance to turn bad, to turn good, of a loss while bad (100%), while good (0%).",
    ),
    Key("loss_markov", MARKOV, "Loss in four states: p13, p31, p32, p23, p14."),
    Key("rate", values.RATE, "Bit/s of IP packets."),
    Key("overhead", kinds.integer(-1000, 1000), "Bytes that each packet has beside, at `rate`."),
    Key("queue", values.QUEUE, "The queue's size: a time at `rate`, bytes, or packets."),
    Key(
        "queue_discipline",
        kinds.choice("tail", "codel", "red"),
        "What is dropped: what finds the queue full, or earlier.",
        default="tail",
    ),
    Key("ecn", values.BOOLEAN, "Whether codel and red mark instead of dropping.", default=False),
    Key("duplicate", values.RATIO, "Share of packets that arrive twice."),
    Key("corrupt", values.RATIO, "Share of packets with one wrong bit."),
    Key("reorder", values.RATIO, "Share of packets that overtake those still delayed."),
    Key("reorder_correlation", values.RATIO, "Of that with the packet before."),
    Key("slot", SLOT, "Packets leave only every so often, as on a shared radio."),
    Key("slot_size", SIZE, "At most so many bytes leave in one slot."),
    Key("up", values.BOOLEAN, "false: the link is down, everything is lost.", default=True),
)
"""What a topology can say of one direction, and what events and `otterctl shape` can change."""

KEYS = {key.name: key for key in PROPERTIES}
_FIELDS = {
    "delay": "delay_s",
    "jitter": "jitter_s",
    "loss": "loss_ratio",
    "rate": "rate_bps",
    "overhead": "overhead_bytes",
    "duplicate": "duplicate_ratio",
    "corrupt": "corrupt_ratio",
    "reorder": "reorder_ratio",
    "slot": "slot_s",
    "slot_size": "slot_bytes",
} | {key.name: key.name for key in PROPERTIES if "_" in key.name and key.name != "slot_size"}
_FIELDS |= {"ecn": "ecn", "up": "up"}
_NAMES = {field: key for key, field in _FIELDS.items()}
_INSTEAD = (
    frozenset({"loss", "loss_gilbert", "loss_markov"}),
    frozenset({"jitter_distribution", "jitter_table"}),
)
"""Who writes one of these means it in place of the others that come from further away."""
_GOES_WITH = {
    "loss_correlation": "loss",
    "jitter_distribution": "jitter",
    "jitter_table": "jitter",
    "jitter_correlation": "jitter",
    "reorder_correlation": "reorder",
    "slot_size": "slot",
}


def values_of(fields: Fields) -> dict[str, Any]:
    """Field of `LinkSpec` -> value, of all properties that are written."""
    found = {field: fields[key] for key, field in _FIELDS.items() if key in fields}
    if "queue" in fields:
        field, size = fields["queue"]
        found[field] = size
    if "jitter_table" in found and "jitter_distribution" not in found:
        found["jitter_distribution"] = "table"
    return found


def that_make_sense(fields: Fields, own: Fields) -> Fields:
    """Without what only goes with a property that there isn't, where others have written it.

    So a default for the spread of jitter is no error of the links without any.
    """
    idle = {
        key
        for key, needed in _GOES_WITH.items()
        if key in fields and key not in own.given and needed not in fields
    }
    held = {key: value for key, value in fields.values.items() if key not in idle}
    return Fields(fields.place, held, fields.given - idle) if idle else fields


def key_of(field: str) -> str:
    """How a topology calls a field of `LinkSpec`."""
    return _NAMES.get(field, "queue")


def nearer(own: Fields, below: Fields | None) -> Fields:
    """A table's properties on top of those further away: defaults, a profile, the way forward."""
    if below is None:
        return own
    hidden: set[str] = set()
    for group in _INSTEAD:
        if own.given & group:
            hidden |= group - own.given
    hidden |= {key for key, needed in _GOES_WITH.items() if needed in hidden} - own.given
    if not hidden & below.given:
        return own.over(below)
    kept = {key: value for key, value in below.values.items() if key not in hidden}
    return own.over(Fields(below.place, kept, below.given - hidden))


def read_text(key: str, text: str) -> dict[str, Any]:
    """`delay`, `20ms` -> field of `LinkSpec` -> value, as a command line gives them.

    `none` takes a property away; several values are separated by commas.

    Raises:
        Bad: It isn't a value of that property.
    """
    if key not in KEYS:
        known = ", ".join(KEYS)
        raise Bad(f"{shown(key)} is no property of a link", f"its properties are {known}")
    if text == "none":
        fields = [_FIELDS[key]] if key in _FIELDS else ["queue_s", "queue_bytes", "queue_packets"]
        return dict.fromkeys(fields)
    problems: list[Any] = []
    place = Place(problems)
    read = place.read(KEYS[key].kind, _raw(key, text))
    for problem in problems:
        raise Bad(problem.reason, problem.hint)
    return values_of(Fields(place, {key: read}, {key}))


def _raw(key: str, text: str) -> object:
    """A word of a command line as TOML would have it."""
    if key in ("up", "ecn"):
        return {"true": True, "on": True, "false": False, "off": False}.get(text, text)
    if key in ("loss_gilbert", "loss_markov") or (key == "slot" and "," in text):
        return [part.strip() for part in text.split(",")]
    if key == "jitter_table":
        return [_number(part) for part in text.split(",")]
    return _number(text) if key == "overhead" else text


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
