"""From a workload to what Docker is asked for, and back from what Docker tells. Pure.

    Workload + image facts ──config()──► body of POST /containers/create
    GET /containers/ID/json ──instance()──► Instance

Must not know: connections, the engine's moods, cgroup files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from otter_agent import api
from otter_agent.errors import ContainerError
from otter_agent.mounts import Bind
from otter_agent.runtimes import container_gpus, gate
from otter_agent.runtimes.base import Instance, Key, Phase, Workload, thread_variables
from otter_agent.secrets import INSIDE as SECRETS

AGENT, MESH, MODULE = "otter.agent", "otter.mesh", "otter.module"
SPEC, GROUP, BUDGET, BINDS = "otter.spec", "otter.group", "otter.budget", "otter.binds"
"""Labels. Ownership is read from these, never from a name."""

WORK, WIRING, STATE = "/work", "/run/otter", "/run/otter-state"
PIDS_LIMIT = 4096
_LOG = {"Type": "json-file", "Config": {"max-size": "32m", "max-file": "3"}}


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What of an image matters here.

    Attributes:
        argv: Its entrypoint and command, joined.
        env: The variables that it sets.
        id: Its content id.
        user: `USER` of its Dockerfile: `UID[:GID]` or names; "": root.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    id: str
    user: str = ""

    @classmethod
    def of(cls, inspected: Mapping[str, Any]) -> ImageFacts:
        """From `GET /images/NAME/json`."""
        config = inspected.get("Config") or {}
        argv = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
        pairs = (pair.partition("=") for pair in config.get("Env") or ())
        env = {name: value for name, _, value in pairs}
        return cls(tuple(argv), env, inspected["Id"], config.get("User") or "")


def name(agent_id: str, key: Key) -> str:
    """The container's name. Dots keep mesh `a-b` with module `c` apart from `a` with `b-c`."""
    return f"otter-{agent_id}.{key.mesh}.{key.module}"


def group_of(work: Workload) -> str:
    """The module's own budget group, below its host's."""
    return f"{work.cgroup}/{work.key.module}"


def config(
    work: Workload, image: ImageFacts, *, agent_id: str, gate_file: Path, cgroup_parent: str,
    cdi: Collection[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """The body of the create request.

    The gate comes before the module's own command, so nothing of the image runs before the
    release; health checks of the image would, so they are off. The working folder is the image's.
    `cdi` are the GPUs that the engine knows by CDI.

    Raises:
        ContainerError: Neither the module nor its image says what to run.
    """
    argv = work.argv or work.artifact.argv or image.argv
    if not argv:
        raise ContainerError(
            "docker", "create", str(work.key), f"image {work.artifact.reference} has no command",
            hint='say what to run with command = ["…"]',
        )  # fmt: skip
    return {
        "Image": work.artifact.reference,
        "Hostname": work.hostname,
        "Entrypoint": [gate.INSIDE, f"{WIRING}/gate", *argv],
        "Cmd": [],
        "Env": [f"{k}={v}" for k, v in _env(work, image).items()],
        "Labels": _labels(work, agent_id),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "RestartPolicy": {"Name": "no"},
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": work.budget.pids or PIDS_LIMIT,
            "Init": False,
            "Mounts": [
                *_mounts(work, gate_file),
                *_extra_mounts(work),
                *container_gpus.mounts(work.gpu),
            ],
            "Devices": [
                {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"}
                for path in work.devices
            ],
            **_gpus(work, cdi),
            "CgroupParent": cgroup_parent,
            "LogConfig": _LOG,
        },
    }


def _gpus(work: Workload, cdi: Collection[str]) -> dict[str, Any]:
    asked = container_gpus.requests(work.gpu, cdi)
    return {"DeviceRequests": asked} if asked else {}


def _env(work: Workload, image: ImageFacts) -> dict[str, str]:
    # Logs as they are written; and more threads than cores would only fight for the budget.
    said = {**image.env, **work.artifact.env, **work.env}
    wanted = {"PYTHONUNBUFFERED": "1", **thread_variables(said, work.threads)}
    defaults = {k: v for k, v in wanted.items() if k not in image.env}
    ours = {"OTTER_WIRING": f"{WIRING}/wiring.json", "OTTER_STATE": STATE, "OTTER_WORK": WORK}
    if work.secrets is not None:
        ours["OTTER_SECRETS"] = SECRETS
    gpu = container_gpus.variables(work.gpu)
    return {**defaults, **work.artifact.env, **gpu, **work.env, **ours}


def _labels(work: Workload, agent_id: str) -> dict[str, str]:
    return {
        AGENT: agent_id,
        MESH: work.key.mesh,
        MODULE: work.key.module,
        SPEC: work.spec_digest,
        GROUP: group_of(work),
        BUDGET: api.encode(work.budget).decode(),
        **({BINDS: _binds_label(work)} if work.binds or work.secrets else {}),
    }


def _mounts(work: Workload, gate_file: Path) -> list[dict[str, Any]]:
    paths = work.paths
    wanted = [
        (paths.work, WORK, False),
        (paths.wiring, WIRING, True),
        (paths.state, STATE, False),
        (paths.hosts, "/etc/hosts", True),
        (paths.resolv_conf, "/etc/resolv.conf", True),
        (gate_file, gate.INSIDE, True),
    ]
    return [
        {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": readonly}
        for source, target, readonly in wanted
    ]


def _extra_mounts(work: Workload) -> list[dict[str, Any]]:
    """What the topology asks for. Of one file system: what is mounted below isn't shown."""
    shown = [(bind.source, bind.target, bind.readonly) for bind in work.binds]
    if work.secrets is not None:
        shown.append((str(work.secrets), SECRETS, True))
    return [
        {"Type": "bind", "Source": source, "Target": target, "ReadOnly": readonly,
         "BindOptions": {"NonRecursive": True}}
        for source, target, readonly in shown
    ]  # fmt: skip


def _binds_label(work: Workload) -> str:
    """As JSON; the secrets' folder is looked at like the rest."""
    binds = list(work.binds)
    if work.secrets is not None:
        binds.append(Bind(str(work.secrets), "", SECRETS, True, "secrets"))
    return msgspec.json.encode(binds).decode()


def binds_of(labels: Mapping[str, str]) -> tuple[Bind, ...]:
    """What a container was made to show of the machine."""
    return msgspec.json.decode(labels.get(BINDS, "[]"), type=tuple[Bind, ...])


def instance(inspected: Mapping[str, Any], is_held: Callable[[int], bool]) -> Instance:
    """What `GET /containers/ID/json` says of one of our containers."""
    labels = inspected["Config"]["Labels"]
    state = inspected["State"]
    base = Instance(key_of(labels), labels.get(SPEC, ""), Phase.CREATED, id=inspected["Id"])
    if state["Status"] == "created":
        return base
    if state["Running"] and state["Pid"] > 0:
        phase = Phase.HELD if is_held(state["Pid"]) else Phase.RUNNING
        return replace(base, phase=phase, pid=state["Pid"])
    return replace(
        base, phase=Phase.EXITED, exit_code=state["ExitCode"], oom_killed=state["OOMKilled"]
    )


def from_event(actor: Mapping[str, Any]) -> Instance:
    """What a `die` event says: its attributes are the labels and the exit code."""
    attributes = actor["Attributes"]
    code = attributes.get("exitCode", "")
    return Instance(
        key_of(attributes), attributes.get(SPEC, ""), Phase.EXITED,
        exit_code=int(code) if code.isdigit() else None, id=actor["ID"],
    )  # fmt: skip


def key_of(labels: Mapping[str, str]) -> Key:
    """Whose container this is."""
    return Key(labels.get(MESH, ""), labels.get(MODULE, ""))


def budget_of(labels: Mapping[str, str]) -> api.Budget:
    """The budget that the container was made with; live changes are not in it."""
    return api.decode(labels.get(BUDGET, "{}"), api.Budget)
