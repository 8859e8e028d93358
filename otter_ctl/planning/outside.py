"""A module's reach beyond the mesh -> the agent's words for it. Pure."""

from __future__ import annotations

from typing import TypedDict

from otter_agent import api
from otter_ctl.topology.model import Module


class Outside(TypedDict):
    """Fields of a `ModuleSpec`."""

    mounts: tuple[api.Mount, ...]
    volumes: tuple[api.VolumeMount, ...]
    devices: tuple[str, ...]
    secrets: tuple[str, ...]
    publish: tuple[api.Publish, ...]


def outside(module: Module, host: str) -> Outside:
    """In a fixed order each: that of the file must not restart anything."""
    mounts = sorted(module.mounts, key=lambda m: m.target)
    return Outside(
        mounts=tuple(
            api.Mount(target=m.target, source=m.source, readonly=m.readonly)
            for m in mounts
            if m.source is not None
        ),
        volumes=tuple(
            api.VolumeMount(target=m.target, volume=m.volume, readonly=m.readonly)
            for m in mounts
            if m.volume is not None
        ),
        devices=tuple(sorted(module.devices)),
        secrets=tuple(sorted(module.secrets)),
        publish=tuple(
            api.Publish(
                port=port.port,
                listen_port=port.listen_port,
                host=port.at or host,
                protocol=port.protocol,
                listen=port.listen,
            )
            for port in sorted(module.publish, key=lambda p: (p.port, p.listen_port, p.protocol))
        ),
    )
