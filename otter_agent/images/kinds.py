"""Kinds of machines: those of one kind run each other's images. Pure.

cpu-amd64   cpu-arm64   cuda   l4t      as in bases/bases.toml
"""

from __future__ import annotations

import platform

CPU = "cpu"
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}
"""As images name architectures, by what the kernel calls them."""
_ONLY = {"cuda": "amd64", "l4t": "arm64"}
"""Accelerators whose kind needs no architecture in its name."""


def image_arch(machine: str = "") -> str:
    """An architecture as images name it; of this machine if none is named."""
    machine = machine or platform.machine()
    return _GO_NAMES.get(machine, machine)


def kind_of(arch: str, accelerator: str = CPU) -> str:
    """The kind of machine.

    Args:
        arch: As images or the kernel name it.
        accelerator: `cpu`, `cuda` or `l4t`.
    """
    named = image_arch(arch)
    return accelerator if _ONLY.get(accelerator) == named else f"{accelerator}-{named}"
