"""What a machine has, as its agent found it: for people, for placement, for refusals. Pure data."""

from __future__ import annotations

from collections.abc import Iterable

from otter_agent.api.base import Data

GPUS = frozenset({"nvidia", "jetson", "amd"})
"""Kinds of accelerators that are GPUs which modules compute on."""
_SLACK = 1.03
"""A machine this much slower than asked is as fast as asked: no benchmark is surer than that."""


class Feature(Data, frozen=True):
    """A part of the kernel that OTTER can make use of."""

    name: str
    """`bridge`, `cgroup`, `htb`, `netem`, `nftables`, `tun`, `vxlan`."""
    usable: bool
    detail: str = ""
    """Why not; or which version."""


def lack(features: Iterable[Feature], name: str) -> str:
    """Why a part of the kernel can't be used; "" if it can, or if nobody has tried."""
    lacking = (one for one in features if one.name == name and not one.usable)
    return next((one.detail or f"the kernel has no {name}" for one in lacking), "")


class Accelerator(Data, frozen=True):
    """A device that computes beside the processors."""

    kind: str
    """`nvidia`, `jetson`, `amd`, `coral`, `hailo`; `render`: something that draws."""
    device: str
    """Its path."""
    name: str = ""
    """As its maker calls it, where the driver says so; of a Jetson its board and release."""


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
    speed: float | None = None
    """Of one core; None: nobody has needed it yet, and so it wasn't measured."""


class Hardness(Data, frozen=True):
    """What cores of a machine are worth.

    Attributes:
        speed: Of one, 1: a core that Geekbench 6 scores with 2500 points; None: not measured.
        cpus: How many there are.
    """

    speed: float | None = None
    cpus: int = 0

    def scale(self, asked: float | None) -> float:
        """How many of its cores are one of the speed asked; never more than 1."""
        if asked is None or self.speed is None:
            return 1.0
        return min(1.0, asked / self.speed)

    def cores(self, cpu: float | None, asked: float | None) -> float | None:
        """Its cores that `cpu` of the speed asked are; None: unlimited.

        Who asks for a speed alone gets as many cores as there are, of that speed.
        """
        scale = self.scale(asked)
        if cpu is not None:
            return cpu * scale
        return self.cpus * scale if scale < 1.0 and self.cpus else None

    def too_slow(self, asked: float | None) -> bool:
        """Whether its cores are slower than asked, as far as is known."""
        return asked is not None and self.speed is not None and asked > self.speed * _SLACK
