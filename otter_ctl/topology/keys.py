"""Every key of a topology file (format 1): kind, whether required, default, meaning. Pure data.

The loader, the JSON Schema and the docs all read these tables; a key is added here and nowhere
else. `built=False`: the format has the key, this version refuses it by name.
"""

from __future__ import annotations

from otter_ctl.topology import access, kinds, values
from otter_ctl.topology.keys_modules import MODULE, STREAM
from otter_ctl.topology.keys_placing import OF_HOSTS, ON, PLACEMENT
from otter_ctl.topology.keys_shared import GPU, IO, NET, PAIR
from otter_ctl.topology.keys_time import BUDGET_TRACE, TRACE_KEY, event_table
from otter_ctl.topology.model import DEFAULT_SOCKET, HOSTS_LIMIT, MESH_NAME_LIMIT, POOL
from otter_ctl.topology.properties import PROPERTIES
from otter_ctl.topology.reader import Key, Table

FORMAT = 1
"""The newest format that this version reads."""

HOST = Table(
    "hosts",
    Key("profile", kinds.NAME, "A named device, whose cpu, memory and speed hold unless written."),
    Key("cpu", values.CORES, "Cores for all modules of the host together; unlimited if left out."),
    Key("memory", values.MEMORY, "Memory for all modules of the host together."),
    Key("speed", kinds.number(0.001, 1000), "Speed of one core, where Geekbench 6's 2500 are 1."),
    Key("gpu", kinds.table(GPU), "Share of a GPU for all modules of the host together."),
    Key("io", kinds.table(IO), "Bandwidth of the host's storage."),
    Key("network", kinds.table(NET), "What all modules of the host receive and send together."),
    BUDGET_TRACE,
    Key("count", kinds.integer(1, HOSTS_LIMIT), "Makes so many hosts: NAME-1, NAME-2, …"),
    Key("machine", kinds.NAME, "The machine that carries the host; `local` is this one."),
    Key("on", kinds.table(ON), "What the machine that carries the host must have."),
    *OF_HOSTS,
    Key(
        "whole", values.BOOLEAN, "The host is the machine itself, without a budget.", default=False
    ),
    Key("gateway", values.BOOLEAN, "The way to and from the outside world.", default=False),
)

_OF_A_LINK = (
    Key(
        "profile",
        kinds.NAME,
        "A named technology (4g, wifi-5, …), whose properties hold unless written.",
    ),
    *PROPERTIES,
    TRACE_KEY,
)

_BETWEEN_MACHINES = (
    Key(
        "tunnel",
        kinds.choice("auto", "vxlan", "udp"),
        "How the link gets from machine to machine, if its hosts are on two; auto: what works.",
        default="auto",
    ),
    Key(
        "subtract_underlay",
        values.BOOLEAN,
        "Take the delay of the network between the machines off the link's own.",
        default=False,
    ),
)

_CAPACITY = (
    Key("uplink", values.RATE, "The cell's capacity from members to its host."),
    Key("downlink", values.RATE, "The cell's capacity from its host to members."),
)

SET = Table(
    "set",
    *PROPERTIES,
    *_CAPACITY,
    Key("cpu", values.CORES, "Of hosts, all their modules together, and of modules: cores."),
    Key("memory", values.MEMORY, "Of hosts, all their modules together, and of modules: memory."),
    Key(
        "gpu_share",
        values.SHARE,
        "Of hosts and of modules: their share of a GPU's time.",
    ),
    Key("speed", kinds.number(0.001, 1000), "Of hosts: the speed of one core."),
    Key("io", kinds.table(IO), "Of hosts and of modules: bandwidth of storage."),
    Key("network", kinds.table(NET), "Of hosts and of modules: what they receive and send."),
)

EFFICIENCY = values.by_reference(values.number_or(values.PART, TRACE_KEY.kind))

CELL = Table(
    "cells",
    Key("host", kinds.NAME, "The host at the cell's middle: the base station.", required=True),
    Key(
        "members",
        kinds.array(values.REFERENCE, least=1),
        "The hosts that share it; each has a link to `host`, called CELL-MEMBER.",
        required=True,
    ),
    *_CAPACITY,
    Key("half_duplex", values.BOOLEAN, "Whether both ways share one medium.", default=False),
    Key(
        "share",
        kinds.choice("equal", "weights"),
        "How members that want more than there is share the time.",
        default="equal",
    ),
    Key("weights", values.NUMBERS, "Member or glob: its part of the time, against 1."),
    Key(
        "efficiency",
        EFFICIENCY,
        "Member or glob: what the capacity is multiplied with for it; a number, or a trace of it.",
    ),
    *(key for key in _OF_A_LINK if key.name not in ("rate", "trace")),
)

REVERSE = Table("reverse", *_OF_A_LINK)

LINK = Table(
    "links",
    Key("name", kinds.NAME, "The link's name; A-B of its hosts if left out."),
    Key("between", values.PAIR, "The two hosts that it joins, both ways; globs join many."),
    Key("from", values.REFERENCE, "The sending host of a link that carries one way."),
    Key("to", values.REFERENCE, "The receiving host of a link that carries one way."),
    PAIR,
    *_OF_A_LINK,
    *_BETWEEN_MACHINES,
    Key("reverse", kinds.table(REVERSE), "What differs from the second host to the first."),
)

DEFAULTS = Table(
    "defaults",
    Key(
        "link",
        kinds.table(Table("defaults.link", *_OF_A_LINK, *_BETWEEN_MACHINES)),
        "What links have that don't say otherwise.",
    ),
    Key(
        "host",
        kinds.table(
            HOST.only(
                "defaults.host",
                *("profile", "cpu", "memory", "speed", "gpu", "io", "network"),
                *("machine", "on"),
                *("among", "apart"),
            )
        ),
        "What hosts have that don't say otherwise.",
    ),
    Key(
        "module",
        kinds.table(
            MODULE.only(
                "defaults.module",
                *("base", "accelerator", "host", "runtime", "cpu", "memory", "gpu", "io"),
                *("network", "storage", "env", "mounts"),
                *("devices", "secrets", "outputs", "ready", "restart"),
            )
        ),
        "What modules have that don't say otherwise.",
    ),
    Key(
        "stream",
        kinds.table(STREAM.only("defaults.stream", "transport", "queue", "policy")),
        "What streams have that don't say otherwise.",
    ),
)

NETWORK = Table(
    "network",
    Key("pool", access.POOL, "The network that all addresses are taken from.", default=POOL),
    Key(
        "routing",
        kinds.choice("static", "shortest"),
        "Whether routes stay as planned, or are worked out anew when a link goes down or up.",
        default="static",
    ),
)

MACHINE = Table(
    "machines",
    Key("ssh", access.SSH, "user@host, or an alias of ~/.ssh/config; its own name if left out."),
    Key(
        "data", access.DATA, "Address or interface for mesh traffic; the one SSH uses if left out."
    ),
    Key("labels", kinds.array(access.LABEL), "Words by which hosts ask for it."),
    Key(
        "ssh_config",
        access.CONFIG_FILE,
        "Of a site file only: OpenSSH client configuration to read for it; else ~/.ssh/config.",
    ),
    Key(
        "socket",
        access.SOCKET,
        "The agent's Unix socket over there.",
        default=DEFAULT_SOCKET,
    ),
    Key(
        "builder",
        values.BOOLEAN,
        "Whether it makes the images of all machines of its kind, and sends them.",
        default=False,
    ),
    Key(
        "direct",
        values.BOOLEAN,
        "Of a site file only: `socket` is on this very computer, no SSH leads there.",
        default=False,
    ),
    Key(
        "docker",
        access.CONTAINER,
        "Of a site file only: its agent is in this container of this computer's engine.",
    ),
)

TOPOLOGY = Table(
    "",
    Key("otter", kinds.format_version(FORMAT), "Version of the format.", default=FORMAT),
    Key("name", kinds.name(MESH_NAME_LIMIT), "The mesh's name.", required=True),
    Key("seed", kinds.integer(0, 2**63 - 1), "Seed of everything random.", default=0),
    Key("include", kinds.array(values.PATH), "Other topology files to start from."),
    Key(
        "overcommit",
        values.BOOLEAN,
        "Whether budgets may add up to more than the machine has.",
        default=False,
    ),
    Key(
        "allow_degraded",
        values.BOOLEAN,
        "Whether links, and budgets of hosts and modules, may lack what the machine can't do.",
        default=False,
    ),
    PLACEMENT,
    Key(
        "images",
        kinds.choice("once", "each"),
        "Whether machines of one kind share what one of them has made, or each makes its own.",
        default="once",
    ),
    Key("network", kinds.table(NETWORK), "Addresses and routes."),
    Key("machines", kinds.named_tables(MACHINE), "Computers that carry hosts."),
    Key("defaults", kinds.table(DEFAULTS), "Values for all hosts, links, modules or streams."),
    Key("hosts", kinds.named_tables(HOST, least=1), "The emulated hosts.", required=True),
    Key("links", kinds.array_of_tables(LINK), "What joins the hosts."),
    Key("modules", kinds.named_tables(MODULE), "The workloads."),
    Key("streams", kinds.array_of_tables(STREAM), "Data edges between modules."),
    Key("cells", kinds.named_tables(CELL), "Media that several hosts share."),
    Key("events", kinds.array_of_tables(event_table(SET)), "Changes at a time, or on a condition."),
)

SITE = Table(
    "",
    Key("machines", kinds.named_tables(MACHINE), "Computers that carry hosts.", required=True),
)
"""All of a site file."""
