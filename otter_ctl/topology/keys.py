"""Every key of a topology file (format 1): kind, whether required, meaning. Pure data.

The loader, the JSON Schema and the docs' test all read these tables; a key is added here and
nowhere else. `built=False`: the format has the key, this version refuses it by name.
"""

from __future__ import annotations

from otter_ctl.topology import kinds, values
from otter_ctl.topology.model import MESH_NAME_LIMIT
from otter_ctl.topology.reader import Key, Table

FORMAT = 1
"""The newest format that this version reads."""


def _later(name: str, doc: str) -> Key:
    return Key(name, values.ANYTHING, doc, built=False)


HOST = Table(
    "hosts",
    Key("cpu", values.CORES, "Cores for all modules of the host together; unlimited if left out."),
    Key("memory", values.MEMORY, "Memory for all modules of the host together."),
    _later("profile", "Cpu, memory and speed of a named device."),
    _later("machine", "The machine of the site file that carries the host."),
    _later("on", "What the machine that carries the host must have."),
    _later("gpu", "Share of a GPU."),
    _later("io", "Bandwidth of the host's storage."),
    _later("count", "Makes so many hosts: NAME-1, NAME-2, …"),
    _later("whole", "The host is the machine itself."),
    _later("gateway", "The way to and from the outside world."),
)

_PROPERTIES = (
    Key("delay", values.DURATION, "One-way delay."),
    Key("jitter", values.DURATION, "Standard deviation of the delay, at most the delay."),
    Key("loss", values.RATIO, "Share of packets lost."),
    Key("rate", values.RATE, "Bit/s of IP packets."),
    Key("queue", values.QUEUE, "The queue's size: a time at `rate`, bytes, or packets."),
)
_LATER_PROPERTIES = (
    _later("profile", "Properties of a named technology: 4g, wifi, …"),
    _later("trace", "A file of recorded changes."),
)

REVERSE = Table("reverse", *_PROPERTIES, *_LATER_PROPERTIES)

LINK = Table(
    "links",
    Key("name", kinds.NAME, "The link's name; A-B of its hosts if left out."),
    Key("between", values.PAIR, "The two hosts that it joins, both ways."),
    Key("from", values.REFERENCE, "The sending host of a link that carries one way."),
    Key("to", values.REFERENCE, "The receiving host of a link that carries one way."),
    *_PROPERTIES,
    Key("reverse", kinds.table(REVERSE), "What differs from the second host to the first."),
    *_LATER_PROPERTIES,
)

READY = Table(
    "ready",
    Key("tcp", values.PORT, "A port of the module that accepts connections."),
    Key("command", values.COMMAND, "A command, run in the module, that exits with 0."),
    Key("sdk", values.SWITCH, "The module says so itself: `await mesh.ready()`."),
    Key("within", values.WAIT, "After this long the module has failed to get ready; 5 min."),
)

MODULE = Table(
    "modules",
    Key("build", values.PATH, "Folder with module.py or a Dockerfile to build an image from."),
    Key("base", kinds.NAME, "Shared base of `build`: python, torch, tensorflow, or your own."),
    Key("image", values.IMAGE, "Image to run instead of a build."),
    Key("command", values.COMMAND, "Command instead of the image's or the build's own."),
    Key("runtime", kinds.choice("docker", "process", "fake"), "What runs the module."),
    Key("host", values.REFERENCE, "The host that it runs on; placed by the planner if left out."),
    Key("cpu", values.CORES, "Cores at most."),
    Key("memory", values.MEMORY, "Memory at most."),
    Key("env", values.ENV, "Variables of its environment."),
    Key("files", values.FILES, "Files copied in: path in the work folder = path here."),
    Key("outputs", kinds.array(values.RELATIVE), "Globs of the files fetched into the run folder."),
    Key("ready", kinds.table(READY), "When it counts as ready."),
    Key("restart", kinds.choice("no", "on-failure", "always"), "When it is started again."),
    _later("secrets", "Variables of the caller that go into a tmpfs file."),
    _later("mounts", "Folders of the machine shown inside."),
    _later("publish", "A port reachable from outside."),
    _later("gpu", "Share of its host's GPU."),
    _later("count", "So many instances."),
)

STREAM = Table(
    "streams",
    Key("from", values.STREAM_END, "The sending module and its output: `asr.text`.", required=True),
    Key("to", values.STREAM_END, "The receiving module and its input.", required=True),
    Key("transport", kinds.choice("tcp", later=("udp", "shm")), "What carries the messages."),
    Key("queue", kinds.integer(1, 65_536), "Messages that wait at most at either end; 16."),
    Key(
        "policy",
        kinds.choice("block", later=("drop-oldest", "latest")),
        "What happens when the queue is full.",
    ),
)

DEFAULTS = Table(
    "defaults",
    Key(
        "link",
        kinds.table(Table("defaults.link", *_PROPERTIES, *_LATER_PROPERTIES)),
        "What links have that don't say otherwise.",
    ),
    Key(
        "host",
        kinds.table(HOST.only("defaults.host", "cpu", "memory", "profile", "machine", "gpu", "io")),
        "What hosts have that don't say otherwise.",
    ),
    Key(
        "module",
        kinds.table(
            MODULE.only(
                *[
                    "defaults.module",
                    "base",
                    "host",
                    "cpu",
                    "memory",
                    "env",
                    "outputs",
                    "ready",
                    "restart",
                    "runtime",
                ],
                *("secrets", "mounts", "gpu"),
            )
        ),
        "What modules have that don't say otherwise.",
    ),
)

TOPOLOGY = Table(
    "",
    Key("otter", kinds.format_version(FORMAT), "Version of the format; the newest if left out."),
    Key("name", kinds.name(MESH_NAME_LIMIT), "The mesh's name.", required=True),
    Key("seed", kinds.integer(0, 2**63 - 1), "Seed of everything random; 0 if left out."),
    Key("defaults", kinds.table(DEFAULTS), "Values for all links, hosts or modules."),
    Key("hosts", kinds.named_tables(HOST, least=1), "The emulated hosts.", required=True),
    Key("links", kinds.array_of_tables(LINK), "What joins the hosts."),
    Key("modules", kinds.named_tables(MODULE), "The workloads."),
    Key("streams", kinds.array_of_tables(STREAM), "Data edges between modules."),
    _later("include", "Other topology files to start from."),
    _later("cells", "Media that several hosts share."),
    _later("events", "Changes at a time."),
    _later("network", "The pool of addresses."),
    _later("machines", "Computers that carry hosts."),
)
