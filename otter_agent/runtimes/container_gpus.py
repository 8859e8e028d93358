"""How GPUs come into a container, and what Docker is asked for to that end. Pure.

    nvidia   the engine's own device requests, which NVIDIA's Container Toolkit answers
    cdi      a device request by the names of a CDI specification (engine 25 and newer)

Source: Docker Engine API v1.41 `DeviceRequest`, v1.44 `CDISpecDirs`, v1.50 `DiscoveredDevices`;
the Container Device Interface specification, 0.6. Must not know: connections, files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from otter_agent.api import GpuWay
from otter_agent.runtimes.base import GpuAccess

KIND = "nvidia.com/gpu"
HOOK = "nvidia-container-runtime-hook"
"""The engine offers GPUs if it found this when it started."""
CAPABILITIES = [["gpu", "compute", "utility"]]
SHARED_MEMORY = "/dev/shm"
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
NONE = (
    "the Docker engine has no way to GPUs: neither NVIDIA's Container Toolkit nor a CDI "
    f"specification of {KIND}; install NVIDIA's Container Toolkit, or write one: "
    "`nvidia-ctk cdi generate`"
)


def way(info: Mapping[str, Any], specifications: Collection[str], *, hook: bool) -> GpuWay:
    """Which one there is; "": none.

    Args:
        info: `GET /info`.
        specifications: Texts of the CDI files in the engine's folders.
        hook: Whether NVIDIA's hook is installed.
    """
    if hook or "nvidia" in (info.get("Runtimes") or {}):
        return "nvidia"
    if names(info, specifications):
        return "cdi"
    return ""


def names(info: Mapping[str, Any], specifications: Collection[str]) -> frozenset[str]:
    """GPUs that CDI knows, by what comes after `nvidia.com/gpu=`; "?": of that kind."""
    found = {
        device["ID"].partition("=")[2]
        for device in info.get("DiscoveredDevices") or ()
        if device.get("Source") == "cdi" and str(device.get("ID", "")).startswith(f"{KIND}=")
    }
    if not found and info.get("CDISpecDirs") and any(KIND in text for text in specifications):
        found = {"?"}
    return frozenset(found)


def folders(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the engine reads CDI files; none: it doesn't."""
    return tuple(info.get("CDISpecDirs") or ())


def requests(access: GpuAccess | None, known: Collection[str]) -> list[dict[str, Any]]:
    """`HostConfig.DeviceRequests`.

    Args:
        access: What the container is shown.
        known: `names`: specifications call GPUs by number, by uuid, or both.
    """
    if access is None or access.way not in ("nvidia", "cdi"):
        return []
    if access.way == "nvidia":  # by uuid: numbers change when one is lost
        return [
            {"Driver": "nvidia", "Count": 0, "DeviceIDs": list(access.uuids),
             "Capabilities": CAPABILITIES, "Options": {}}
        ]  # fmt: skip
    chosen = access.uuids if {*access.uuids} <= {*known} else tuple(map(str, access.indices))
    return [{"Driver": "cdi", "DeviceIDs": [f"{KIND}={name}" for name in chosen]}]


def variables(access: GpuAccess | None) -> Mapping[str, str]:
    """What a container is started with.

    NVIDIA's runtime, where it is the engine's default, goes by a variable that many images set to
    `all`: without a word of ours every container of such an image would have every GPU. By its
    requests the engine says the same; where CDI brings GPUs, nothing else may.
    Source: NVIDIA Container Toolkit, "Specialized Configurations with Docker".
    """
    if access is None:
        return {VISIBLE: "void"}
    seen = ",".join(access.uuids) if access.way == "nvidia" else "void"
    return {VISIBLE: seen, **access.env}


def mounts(access: GpuAccess | None) -> list[dict[str, Any]]:
    """What MPS's clients share with its servers: their pipes, and shared memory."""
    if access is None or access.mps is None:
        return []
    return [
        {"Type": "bind", "Source": path, "Target": path, "ReadOnly": False}
        for path in (str(access.mps), SHARED_MEMORY)
    ]
