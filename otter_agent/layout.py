"""Where an agent keeps its things: every path it uses, derived from `--root`. Pure.

Sockets, locks and FIFOs are under `run`, durable state under `lib`: see `otter_agent.api.places`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ModulePaths:
    """The folders of one module; all under `lib/meshes/MESH/MODULE`.

    The agent writes to `work` only while no instance exists, and follows no symbolic link that it
    finds there: what a module writes is hostile input.
    """

    base: Path

    @property
    def work(self) -> Path:
        """The module's work folder: `/work` in a container, the cwd of a process. Module writes."""
        return self.base / "work"

    @property
    def wiring(self) -> Path:
        """`/run/otter` in a container, read-only: wiring.json, hosts, gate FIFO. Agent writes."""
        return self.base / "wiring"

    @property
    def volume(self) -> Path:
        """The file that holds `work` where that may hold so much and no more."""
        return self.base / "work.img"

    @property
    def state(self) -> Path:
        """`/run/otter-state` in a container: `ready`, `streams.json`, `messages.csv`.

        Module writes.
        """
        return self.base / "state"

    @property
    def turns(self) -> Path:
        """Socket at which the module asks for its turn of a GPU; only where it has a share."""
        return self.wiring / "turns.sock"

    @property
    def hosts(self) -> Path:
        """Bound over /etc/hosts. Rewritten in place, so that the bind mount keeps seeing it."""
        return self.wiring / "hosts"

    @property
    def resolv_conf(self) -> Path:
        """Bound over /etc/resolv.conf, as `hosts`."""
        return self.wiring / "resolv.conf"

    @property
    def nsswitch(self) -> Path:
        """Bound over a process module's /etc/nsswitch.conf."""
        return self.wiring / "nsswitch.conf"

    @property
    def wiring_file(self) -> Path:
        """JSON of `api.Wiring`."""
        return self.wiring / "wiring.json"

    @property
    def gate(self) -> Path:
        """The FIFO at which a new instance waits until its network is there."""
        return self.wiring / "gate"

    @property
    def ready(self) -> Path:
        """Exists once the module said `await mesh.ready()`."""
        return self.state / "ready"

    @property
    def log(self) -> Path:
        """What a process module writes to stdout and stderr. Docker keeps its own."""
        return self.base / "log"

    @property
    def source(self) -> Path:
        """The folder that is shown in the place of the built one (`otterctl dev`)."""
        return self.base / "source"

    @property
    def build_log(self) -> Path:
        """Output of the build of this module's image or environment."""
        return self.base / "build.log"


@dataclass(frozen=True, slots=True)
class Layout:
    """All paths of one agent."""

    run: Path
    lib: Path

    @classmethod
    def at(cls, root: str | Path) -> Layout:
        """The layout under a `--root`."""
        base = Path(root).absolute()
        return cls(base / "run", base / "lib")

    @property
    def socket(self) -> Path:
        """The API, mode 0660."""
        return self.run / "agent.sock"

    @property
    def pid_file(self) -> Path:
        """The pid of the agent that serves `socket`."""
        return self.run / "agent.pid"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one agent that owns this root."""
        return self.run / "agent.lock"

    @property
    def agent_log(self) -> Path:
        """What an agent started by `otterctl apply` prints."""
        return self.run / "agent.log"

    @property
    def launcher(self) -> Path:
        """Folder of the process launcher: its socket, pid, and the durable exit records."""
        return self.run / "launcher"

    @property
    def database(self) -> Path:
        """Desired and supervised state (sqlite)."""
        return self.lib / "state.sqlite"

    @property
    def speed(self) -> Path:
        """How fast this machine's cores are (JSON)."""
        return self.lib / "speed.json"

    @property
    def waking(self) -> Path:
        """What a message takes between two resting processes of this machine (JSON)."""
        return self.lib / "waking.json"

    @property
    def turns(self) -> Path:
        """Socket of what gives turns to modules that share a GPU."""
        return self.run / "turns.s"

    @property
    def blobs(self) -> Path:
        """Uploads by SHA-256."""
        return self.lib / "blobs"

    @property
    def meshes(self) -> Path:
        """One folder per mesh, below it one per module."""
        return self.lib / "meshes"

    @property
    def scratch(self) -> Path:
        """Files for the length of a request; emptied when an agent starts."""
        return self.lib / "scratch"

    @property
    def environments(self) -> Path:
        """Virtual environments and prepared model weights of the process runtime."""
        return self.lib / "environments"

    @property
    def wheels(self) -> Path:
        """The wheelhouse: Python packages that builds install from, without internet."""
        return self.lib / "wheels"

    @property
    def weights(self) -> Path:
        """The weight cache: models' files that topologies name, shown to modules read-only."""
        return self.lib / "weights"

    def timeline(self, mesh: str) -> Path:
        """What a mesh's timeline requested, and when it was in force (no module has a dot)."""
        return self.meshes / mesh / "timeline.csv"

    def fidelity(self, mesh: str) -> Path:
        """Whether a mesh's run is what was asked for, so far."""
        return self.meshes / mesh / "fidelity.json"

    def module(self, mesh: str, module: str) -> ModulePaths:
        """The folders of one module."""
        return ModulePaths(self.meshes / mesh / module)
