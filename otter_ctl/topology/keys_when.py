"""Keys of conditions, `when` of an event. Pure data."""

from __future__ import annotations

from net import units
from net.conditions import MODULE_STATES
from otter_ctl.topology import kinds, values
from otter_ctl.topology.reader import Key, Table

_COUNT = kinds.integer(1, 10**15)
STREAM = kinds.scalar(kinds.text, **kinds.TEXT)
_LEVEL = kinds.number(0, 1e12)
BYTES = kinds.quantity(
    units.size,
    units.SIZE_ACCEPTS,
    units.SIZE_PATTERN,
    plain={"type": ["string", "integer"], "minimum": 1},
    least=1,
    limit="at least 1 byte",
)

WHEN = Table(
    "when",
    Key("module", kinds.NAME, "The module that it looks at."),
    Key("stream", STREAM, "Or the stream: `asr.text`, or `asr.text>vqa.question`."),
    Key("link", values.WAY, "Or the link; of one direction: `radio:phone>edge`."),
    Key("host", kinds.NAME, "Or the host."),
    Key("state", kinds.choice(*MODULE_STATES), "module: it is in this state."),
    Key("restarts", _COUNT, "module: it was started again so often."),
    Key("messages", _COUNT, "stream: the receiver took so many messages."),
    Key("lost", _COUNT, "stream: so many messages were dropped or expired."),
    Key("waiting_above", _LEVEL, "stream: more messages wait in the receiver's queue."),
    Key("rate_above", _LEVEL, "stream: the receiver takes more messages per second."),
    Key("rate_below", _LEVEL, "stream: the receiver takes fewer messages per second."),
    Key("packets", _COUNT, "link: so many packets passed."),
    Key("bytes", BYTES, "link: so much passed."),
    Key("dropped", _COUNT, "link: so many packets were dropped, for whatever cause."),
    Key("queue_delay_above", values.DURATION, "link: a packet waits longer for the rate."),
    Key("use_above", values.RATIO, "link: more of its rate is used, in the last second."),
    Key("use_below", values.RATIO, "link: less of its rate is used, in the last second."),
    Key("cpu_above", _LEVEL, "host: its modules use more cores, in the last second."),
    Key("cpu_below", _LEVEL, "host: its modules use fewer cores, in the last second."),
    Key("memory_above", values.MEMORY, "host: its modules use more memory, page cache left out."),
    Key("for", values.WAIT, "How long it has to be so without a break."),
    Key(
        "again",
        kinds.scalar(kinds.only_true, const=True),
        "The event happens each time that it becomes so; a count: each time so many more.",
    ),
    Key(
        "rearm",
        values.ANYTHING,
        "With `again`: to where the value has to come back before, if not to the bound itself.",
    ),
)
