"""What a machine has, as its agent found it: for people, for placement, for refusals. Pure data."""

from __future__ import annotations

from otter_agent.api.base import Data

GPUS = frozenset({"nvidia", "jetson", "amd"})
"""Kinds of accelerators that are GPUs which modules compute on."""


class Feature(Data, frozen=True):
    """A part of the kernel that OTTER can make use of."""

    name: str
    """`bridge`, `cgroup`, `htb`, `netem`, `nftables`, `tun`, `vxlan`."""
    usable: bool
    detail: str = ""
    """Why not; or which version."""


class Accelerator(Data, frozen=True):
    """A device that computes beside the processors."""

    kind: str
    """`nvidia`, `jetson`, `amd`, `coral`, `hailo`; `render`: something that draws."""
    device: str
    """Its path."""
    name: str = ""
    """As its maker calls it, where the driver says so."""


class GpuFact(Data, frozen=True):
    """A GPU that modules can be given."""

    index: int
    uuid: str
    name: str = ""
    memory_bytes: int | None = None
    """None: it doesn't tell (Jetson), or nobody could ask."""
    mig: bool = False


class Held(Data, frozen=True):
    """What the hosts of a mesh hold of the machine."""

    mesh: str
    cpu: float
    memory_bytes: int


class MachineFacts(Data, frozen=True):
    """Of a machine in `status --json`."""

    arch: str
    kernel: str
    cpus: int
    memory_bytes: int
    cgroup: str
    """`v1`, `v2` or `none`."""
    link_driver: str
    engine: str
    """Version of its Docker engine; empty: none that can be used."""
    features: tuple[Feature, ...]
    devices: tuple[Accelerator, ...] = ()
