"""Every key of modules and streams: kind, whether required, default, meaning. Pure data."""

from __future__ import annotations

from otter_ctl.topology import access, kinds, values
from otter_ctl.topology.keys_placing import EXPECTED, OF_MODULES
from otter_ctl.topology.keys_shared import GPU, IO, NET, PAIR
from otter_ctl.topology.keys_time import BUDGET_TRACE
from otter_ctl.topology.model import MODULES_LIMIT
from otter_ctl.topology.reader import Key, Table
from otter_ctl.topology.weights import WEIGHTS

READY = Table(
    "ready",
    Key("tcp", values.PORT, "A port of the module that accepts connections."),
    Key("command", values.COMMAND, "A command, run in the module, that exits with 0."),
    Key("sdk", values.SWITCH, "The module says so itself: `await mesh.ready()`."),
    Key("within", values.WAIT, "After this long it has failed to get ready.", default="5min"),
)

MOUNT = Table(
    "mounts",
    Key("from", access.SOURCE, "A file or folder of the machine, absolute."),
    Key("volume", kinds.NAME, "A named volume instead: made on first use, outlives the mesh."),
    Key("readonly", values.BOOLEAN, "True if left out for `from`, false for `volume`."),
)

PUBLISH = Table(
    "publish",
    Key("port", values.PORT, "The module's port.", required=True),
    Key("as", values.PORT, "The machine's port; the same as `port` if left out."),
    Key("at", kinds.NAME, "The host where traffic enters; the module's own if left out."),
    Key("listen", access.LISTEN, "The machine's address.", default="127.0.0.1"),
    Key("protocol", kinds.choice("tcp", "udp"), "What it carries.", default="tcp"),
)

MODULE = Table(
    "modules",
    Key("build", values.PATH, "Folder with module.py or a Dockerfile to build an image from."),
    Key("base", kinds.NAME, "Shared base of `build`: python, torch, …", default="python"),
    Key(
        "accelerator",
        kinds.choice("cpu", "cuda", "l4t"),
        "What it is made for: picks the base image; its machine has to have it.",
        default="cpu",
    ),
    Key("image", values.IMAGE, "Image to run instead of a build."),
    Key("command", values.COMMAND, "Command instead of the image's or the build's own."),
    Key("runtime", kinds.choice("docker", "process", "fake"), "What runs the module."),
    Key("host", values.REFERENCE, "The host that it runs on; a glob makes one instance per host."),
    *OF_MODULES,
    Key("count", kinds.integer(1, MODULES_LIMIT), "Makes so many: NAME-1, NAME-2, …"),
    Key("cpu", values.CORES, "Cores at most."),
    Key("memory", values.MEMORY, "Memory at most."),
    Key("gpu", kinds.table(GPU), "Share of its host's GPU."),
    Key("io", kinds.table(IO), "Bandwidth of storage at most."),
    Key("network", kinds.table(NET), "What it receives and sends at most."),
    Key("storage", values.MEMORY, "What its work folder may hold at most: a volume of that size."),
    BUDGET_TRACE,
    Key("env", values.ENV, "Variables of its environment."),
    Key("secrets", kinds.array(access.SECRET), "Your variables that become files in /run/secrets."),
    Key("files", values.FILES, "Files copied in: path in the work folder = path here."),
    Key("mounts", access.mounts(MOUNT), "Folders of the machine, or volumes, by where they show."),
    Key("weights", WEIGHTS, "Models' files, fetched once per machine, by their folders' names."),
    Key("devices", kinds.array(access.DEVICE), "Device files of the machine."),
    Key("outputs", kinds.array(values.RELATIVE), "Globs of the files fetched into the run folder."),
    Key("publish", kinds.one_or_many(kinds.table(PUBLISH)), "Ports reachable from outside."),
    Key("ready", kinds.table(READY), "When it counts as ready."),
    Key(
        "restart",
        kinds.choice("no", "on-failure", "always"),
        "When it is started again.",
        default="on-failure",
    ),
)

STREAM = Table(
    "streams",
    Key("from", values.STREAM_END, "The sending module and its output: `asr.text`.", required=True),
    Key("to", values.STREAM_END, "The receiving module and its input.", required=True),
    PAIR,
    Key(
        "transport",
        kinds.choice("tcp", "udp", "shm"),
        "What carries the messages; shm only between modules of one host.",
        default="tcp",
    ),
    Key("queue", kinds.integer(1, 65_536), "Messages that wait at most at either end.", default=16),
    Key(
        "policy",
        kinds.choice("block", "drop-oldest", "latest"),
        "What happens when the queue is full: the sender waits, or the oldest message goes.",
        default="block",
    ),
    Key(
        "delivery",
        kinds.choice("at-most-once", "at-least-once", "exactly-once"),
        "What a cut, or a restart of either end, may do to messages.",
        default="at-least-once",
    ),
    Key(
        "deadline",
        values.DURATION,
        "After this long nobody wants a message: it is dropped wherever it waits.",
    ),
    Key(
        "copy",
        values.BOOLEAN,
        "With shm: the receiver copies arrays out of the shared memory, and may write to them.",
        default=False,
    ),
    Key(
        "fec",
        values.RATIO,
        "With udp: parity sent along, as a share of the data; mends losses without a round trip.",
    ),
    Key(
        "partial",
        values.BOOLEAN,
        "With udp: arrays of which something is lost arrive at their deadline, with a mask.",
        default=False,
    ),
    Key("rate", values.RATE, "With udp: bit/s to send at; default: what the path carries."),
    EXPECTED,
)
