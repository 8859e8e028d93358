"""A folder with what topologies refer to, and ways to load text from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from otter_ctl.errors import TopologyError, TopologyErrors
from otter_ctl.topology import Topology, load

FULL = """\
otter = 1
name = "multimodal-qa"
seed = 7

[defaults.link]
queue = "50ms"
[defaults.host]
memory = "1GiB"
[defaults.module]
env = { COLOUR = "red", SIZE = "s" }
restart = "no"

[hosts.phone]
cpu = 1.0
[hosts.edge]
cpu = 2
memory = "4GiB"

[[links]]
name = "radio"
between = ["phone", "edge"]
delay = "20ms"
jitter = "2ms"
loss = "0.5%"
rate = "20mbit"
reverse = { rate = "5mbit", queue = "100 packets" }
[[links]]
from = "edge"
to = "phone"

[modules.asr]
build = "asr"
base = "torch"
host = "phone"
cpu = 0.5
memory = "800MiB"
env = { SIZE = "l", "OTTER_MODEL" = "x=y" }
files = { "inputs/question.wav" = "data/question.wav" }
outputs = ["answer.wav", "*.txt"]
ready = { tcp = 8000, within = "1min" }
restart = "on-failure"
[modules.vqa]
image = "repo/name:tag"
command = ["python3", "-m", "x", ""]
[modules.probe]
runtime = "process"
command = ["true"]
ready = { command = ["test", "-e", "/x"] }

[[streams]]
from = "asr.text"
to = "vqa.question"
queue = 4
"""

WIDE = """\
name = "wide"
overcommit = true
[network]
pool = "10.64.0.0/12"
[machines.box]
ssh = "me@box"
data = "eth1"
labels = ["gpu"]
[defaults.host]
profile = "raspberry-pi-5"
io = { read = "50MB/s", write_iops = 100 }
[defaults.link]
profile = "wifi-5"
[defaults.module]
mounts = { "/data" = { from = "/srv/data" } }
[defaults.stream]
policy = "block"
[hosts.client]
count = 4
gpu = { memory = "1GiB", share = "10%" }
[hosts.edge]
on = { label = "gpu", arch = "arm64" }
[hosts.cloud]
machine = "local"
gateway = true
speed = 0.5
[[links]]
name = "radio"
between = ["client-*", "edge"]
profile = "4g"
reverse = { profile = "dsl", rate = "1mbit" }
[[links]]
between = ["client-[12]", "client-[34]"]
pair = "index"
[[links]]
from = "client-*"
to = "cloud"
[hosts.rover]
[cells.gnb1]
host = "edge"
members = ["client-[12]", "rover"]
profile = "5g-mid"
uplink = "50mbit"
share = "weights"
weights = { "client-*" = 2 }
efficiency = { rover = 0.5 }
[cells.wifi]
host = "cloud"
members = ["client-4"]
uplink = "20mbit"
half_duplex = true
[[events]]
at = "1s"
cell = "*"
set = { uplink = "5mbit", delay = "9ms" }
for = "2s"
[[events]]
at = "2s"
host = "rover"
attach = { cell = "wifi", gap = "40ms" }
every = "9s"
[modules.asr]
build = "asr"
host = "client-*"
secrets = ["TOKEN"]
devices = ["/dev/null"]
[modules.vqa]
image = "x"
count = 2
mounts = { "/out" = { volume = "v", readonly = true } }
[[streams]]
from = "asr-*.text"
to = "vqa-*.question"
pair = "all"
transport = "udp"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "asr").mkdir()
    (tmp_path / "asr" / "module.py").write_text("print('hello')\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "question.wav").write_bytes(b"RIFF")
    return tmp_path


@pytest.fixture
def read(folder: Path) -> Callable[..., Topology]:
    """Loads a text (or bytes) as if it were a file in `folder`."""

    def read_text(text: str | bytes, *overrides: str) -> Topology:
        path = folder / "mesh.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(path, overrides)

    return read_text


@pytest.fixture
def problems(read: Callable[..., Topology]) -> Callable[..., list[TopologyError]]:
    """Everything that is wrong with a text; nothing if it loads."""

    def find(text: str | bytes, *overrides: str) -> list[TopologyError]:
        try:
            read(text, *overrides)
        except TopologyErrors as exc:
            return list(exc)
        return []

    return find


@pytest.fixture
def one_problem(
    problems: Callable[..., list[TopologyError]],
) -> Callable[[str, str, str], None]:
    """Checks that one thing is wrong with a text, at its line marked `# <-`, and what is said.

    A mark that is all of the last line: at a table further up.
    """

    def check(text: str, key: str, reason: str) -> None:
        found = problems(text)
        assert len(found) == 1, [str(error) for error in found]
        (error,) = found
        lines = text.split("\n")
        marked = [i for i, line in enumerate(lines, 1) if "# <-" in line]
        assert lines[-1] == "# <-" or [error.line] == marked, str(error)
        assert error.key.startswith(key), error.key
        assert reason in error.reason
        assert str(error).isprintable()

    return check


@pytest.fixture
def full() -> str:
    """A topology that uses every key of this version."""
    return FULL


@pytest.fixture
def wide() -> str:
    """A topology that uses every other key: counts, globs, profiles, machines, mounts."""
    return WIDE
