"""What a runtime driver is: mechanism for one machine, no policy.

An instance is one life of one module. It goes *absent → created → held → running → exited*:
`start` leaves it **held**: it has its network namespace (that of `pid`) but none of the module's
own code has run; the agent plugs the network in and calls `release`. So no module ever runs
before its network is there, whatever its image knows of OTTER, after a restart as well.

Every driver passes tests/contracts/test_runtime.py. When and what to start is reconcile.py's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from otter_agent.api import Budget, GpuWay, LogLine
from otter_agent.layout import ModulePaths
from otter_agent.mounts import Bind
from otter_agent.runtimes.setting import PLAIN, Setting


class Phase(StrEnum):
    """How far an instance is."""

    CREATED = "created"
    HELD = "held"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names an instance on this agent."""

    mesh: str
    module: str

    def __str__(self) -> str:
        return f"{self.mesh}/{self.module}"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What can be run: made by an image store or an environment store from a build.

    Attributes:
        reference: Image id or tag (docker), environment folder (process), "" for command alone.
        argv: The build's own command; None: the image's.
        env: Variables the artifact needs (`OTTER_MODELS`, `PATH`, …).
        digest: Content id, shown by status and in run folders.
        readonly: Host folders to show inside at the same path, read-only (process runtime).
    """

    reference: str
    argv: tuple[str, ...] | None = None
    env: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    readonly: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuAccess:
    """The GPUs that an instance is shown.

    Attributes:
        uuids: NVIDIA's names of them.
        indices: NVIDIA's numbers of them, which specifications of CDI may call them by.
        way: How they come in.
        env: Variables that go with them; the module's own come before.
        mps: Folder of MPS's pipes, to be shown at the same path; None: it isn't used.
    """

    uuids: tuple[str, ...]
    indices: tuple[int, ...]
    way: GpuWay
    env: Mapping[str, str] = field(default_factory=dict)
    mps: Path | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """One instance to create, everything resolved.

    Attributes:
        spec_digest: `api.instance_digest` of the module; kept with the instance and listed back.
        hostname: The name of the module.
        argv: The module's command; None: the artifact's.
        env: Complete but for the runtime's own (`OTTER_WIRING`, `OTTER_STATE`, `OTTER_WORK`).
        cgroup: Budget group of the (mesh, host), a path relative to the agent's own group: the
            instance's group lies below it.
        budget: The module's own limits.
        paths: Folders on the machine, already made and filled.
        binds: What else of the machine to show inside.
        devices: Paths of the machine's device files to show inside, at the same paths.
        secrets: Folder in memory to show read-only at /run/secrets; None: there are none.
        threads: To compute with, unless the module says otherwise (`thread_variables`).
        gpu: GPUs that it is given; None: none.
    """

    key: Key
    spec_digest: str
    hostname: str
    artifact: Artifact
    argv: tuple[str, ...] | None
    env: dict[str, str]
    cgroup: str
    budget: Budget
    paths: ModulePaths
    binds: tuple[Bind, ...] = ()
    devices: tuple[str, ...] = ()
    secrets: Path | None = None
    threads: int = 1
    gpu: GpuAccess | None = None


def threads_of(*cores: float | None) -> int:
    """Threads to compute with: the whole cores of the smallest budget; one where there is none."""
    return max(1, int(min((c for c in cores if c is not None), default=1)))


def thread_variables(said: Mapping[str, str], threads: int) -> dict[str, str]:
    """What has frameworks compute with so many threads: more than cores only fight for them.

    TensorFlow's pools don't heed OpenMP's variable, only their own: those follow what is said of
    OpenMP, so that one variable is enough for both.

    Args:
        said: Variables that the module has already; they stay as they are.
        threads: Where it says nothing.
    """
    openmp = said.get("OMP_NUM_THREADS", str(threads))
    of_tensorflow = openmp.partition(",")[0].strip()  # a list is of nested levels
    wanted = {
        "OMP_NUM_THREADS": openmp,
        "TF_NUM_INTRAOP_THREADS": of_tensorflow,
        "TF_NUM_INTEROP_THREADS": of_tensorflow,
    }
    return {name: value for name, value in wanted.items() if name not in said}


@dataclass(frozen=True, slots=True)
class Instance:
    """What a runtime knows of an instance.

    Attributes:
        pid: In the machine's pid namespace while held or running. With `started` (clock ticks
            since boot, field 22 of /proc/PID/stat) it names the process even after pid reuse.
        exit_code: 128+N for signal N, as shells do; None if it can't be known.
        id: The runtime's own id (container id).
        life: Names this one life of it, so that late word of an earlier one's end is known as such;
            "" where the runtime sees to that itself.
    """

    key: Key
    spec_digest: str
    phase: Phase
    pid: int | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    id: str = ""
    life: str = ""


class Runtime(Protocol):
    """A way to run modules. Errors: `ContainerError`; `recoverable` says if trying again may help.

    All calls are idempotent: what is already so is left as it is.
    """

    name: str

    async def create(self, work: Workload) -> Instance:
        """Make the instance, not started. An instance of another digest is replaced."""
        ...

    async def start(self, key: Key) -> Instance:
        """From created or exited to held, with a fresh network namespace; returns its pid.

        Already held or running: returned unchanged.
        """
        ...

    async def release(self, key: Key) -> Instance:
        """From held to running: the module's own code starts now. Running: unchanged."""
        ...

    async def update(self, key: Key, budget: Budget) -> None:
        """Change the limits of an instance in place."""
        ...

    async def stop(self, key: Key, grace_s: float) -> Instance:
        """SIGTERM, after `grace_s` SIGKILL to all its processes; returns it exited.

        Absent: raises nothing and returns an exited instance without exit code.
        """
        ...

    async def remove(self, key: Key) -> None:
        """Kill if need be and remove; absent is fine."""
        ...

    async def list(self) -> list[Instance]:
        """All instances of this agent, whoever started them, also before its restart."""
        ...

    def watch(self) -> AsyncIterator[Instance]:
        """Yield an instance at each exit, until cancelled. May miss some: `list` is the truth.

        Raises `ContainerError(recoverable=True)` when the engine goes away.
        """
        ...


@dataclass(slots=True)
class LogPlace:
    """How far a log was read: handed in again, reading goes on there.

    Attributes:
        at: The runtime's own note; None: nothing was read.
        caught_up: Called by who follows once all that was there has been given; perhaps again.
    """

    at: object = None
    caught_up: Callable[[], None] = lambda: None


@runtime_checkable
class Versioned(Protocol):
    """Runtimes that rest on something with a version of its own."""

    @property
    def version(self) -> str:
        """As people write it; empty: not known yet."""
        ...


@runtime_checkable
class Logs(Protocol):
    """Runtimes that can show what an instance printed."""

    def logs(
        self,
        key: Key,
        *,
        tail: int | None,
        follow: bool,
        since: float | None = None,
        until: float | None = None,
        place: LogPlace | None = None,
    ) -> AsyncIterator[LogLine]:
        """Lines, oldest first; `follow` goes on through restarts until removed or cancelled.

        Args:
            key: Whose.
            tail: Only the last so many.
            follow: Go on with what is printed next.
            since: Only lines that were begun at this time (seconds since 1970) or later.
            until: Only lines that were begun at this time or earlier; ends there.
            place: Where to begin; at the end it says how far this came.
        """
        ...


@runtime_checkable
class Signals(Protocol):
    """Runtimes that can send a signal to all processes of an instance."""

    async def signal(self, key: Key, number: int) -> None:
        """Send it, also to those that are begun meanwhile; one that doesn't run has none."""
        ...


@runtime_checkable
class Exec(Protocol):
    """Runtimes that can run a command inside an instance (its namespaces, its cgroup)."""

    async def exec(
        self,
        key: Key,
        argv: Sequence[str],
        *,
        stdin: AsyncIterator[bytes] | None,
        output: ExecOutput,
        setting: Setting = PLAIN,
    ) -> int:
        """Run to its end; returns its exit status (127: not found, 128+N: signal N).

        In a terminal all output is that of `fd` 1, and the end of `stdin` is its end-of-file key.
        """
        ...


@runtime_checkable
class GivesGpus(Protocol):
    """Runtimes whose instances can have GPUs."""

    async def gpu_way(self) -> tuple[GpuWay, str]:
        """How they come in, and why they can't ("" if they can)."""
        ...

    async def user_of(self, key: Key, artifact: Artifact) -> str:
        """Whom an instance's processes are: what its image says; "": root, or the agent's user.

        Raises:
            DriverError: There is no such image.
        """
        ...


@runtime_checkable
class Closes(Protocol):
    """Runtimes and stores that hold connections."""

    async def aclose(self) -> None:
        """Close them; instances live on. Idempotent."""
        ...


class ExecOutput(Protocol):
    """Takes what a command prints."""

    async def __call__(self, fd: int, data: bytes) -> None:
        """Take `data` written to `fd` 1 or 2."""
        ...
