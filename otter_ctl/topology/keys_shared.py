"""Keys that hosts and modules, or links and streams, have in common. Pure data."""

from __future__ import annotations

from otter_ctl.topology import kinds, values
from otter_ctl.topology.reader import Key, Table

GPU = Table(
    "gpu",
    Key("count", kinds.integer(1, 64), "How many; one if left out."),
    Key("memory", values.MEMORY, "Memory at most, of each."),
    Key("share", values.SHARE, "Share of its time, where others want it, too: `net.lease()`."),
)

IO = Table(
    "io",
    Key("read", values.THROUGHPUT, "Bytes read per second at most."),
    Key("write", values.THROUGHPUT, "Bytes written per second at most."),
    Key("read_iops", kinds.integer(1, 10**9), "Reads per second at most."),
    Key("write_iops", kinds.integer(1, 10**9), "Writes per second at most."),
)

NET = Table(
    "rates",
    Key("in", values.OWN_RATE, "What is received at most, over all links together."),
    Key("out", values.OWN_RATE, "What is sent at most, over all links together."),
)

PAIR = Key(
    "pair",
    kinds.choice("index", "all"),
    "How globs pair; if left out by index where counts agree, else all with all.",
)
