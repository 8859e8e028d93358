"""Keys that say where hosts and modules may be placed, and what streams carry. Pure data."""

from __future__ import annotations

import re

from net import units
from otter_ctl.topology import access, kinds, values
from otter_ctl.topology.kinds import scalar, text
from otter_ctl.topology.reader import Bad, Key, Table, shown

PLACERS = ("greedy", "optimal")
_FUNCTION = r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*"


def _placement(value: object) -> str:
    word = text(value)
    if word not in PLACERS and re.fullmatch(_FUNCTION, word) is None:
        raise Bad(f"{shown(word)} is not greedy, optimal or package.module:function")
    return word


PLACEMENT = Key(
    "placement",
    scalar(_placement, type="string", pattern=f"^({'|'.join(PLACERS)}|{_FUNCTION})$"),
    "Who places modules without a `host` and hosts without a `machine`: greedy, optimal, or a "
    "function package.module:function.",
    default="greedy",
)

ON = Table(
    "on",
    Key("arch", access.ARCH, "Its processors' kind: arm64 or amd64."),
    Key("label", kinds.one_or_many(access.LABEL), "A label of it, or several that it all has."),
)

OF_HOSTS = (
    Key(
        "among",
        kinds.one_or_many(values.REFERENCE),
        "Machines or globs that it may be placed on; `local` is this one.",
    ),
    Key("beside", kinds.one_or_many(values.REFERENCE), "Hosts on whose machine it must be."),
    Key("apart", kinds.one_or_many(values.REFERENCE), "Hosts on whose machine it must not be."),
)

OF_MODULES = (
    Key("among", kinds.one_or_many(values.REFERENCE), "Hosts or globs that it may be placed on."),
    Key("on", kinds.table(ON), "What the machine of the host that it is placed on must have."),
    Key("beside", kinds.one_or_many(values.REFERENCE), "Modules on whose host it must be."),
    Key("apart", kinds.one_or_many(values.REFERENCE), "Modules on whose host it must not be."),
)

SIZE = kinds.quantity(
    units.size,
    units.SIZE_ACCEPTS,
    units.SIZE_PATTERN,
    plain={"type": ["string", "integer"], "minimum": 0},
)

EXPECT = Table(
    "expect",
    Key("message", SIZE, "Bytes of a message.", required=True),
    Key("every", values.WAIT, "How often one is sent."),
)

EXPECTED = Key(
    "expect", kinds.table(EXPECT), "What it will carry: for placement and what `plan` predicts."
)
