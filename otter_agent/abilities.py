"""What this machine can run besides its processor's programs: accelerators, emulated processors.

Must not know: images, modules.
"""

from __future__ import annotations

from pathlib import Path

_MARKS = {"cuda": "proc/driver/nvidia/version", "l4t": "etc/nv_tegra_release"}
"""What is there where the driver of one is. Source: NVIDIA's driver README, Jetson Linux."""
_KERNEL_NAMES = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}
"""As the kernel's handlers call architectures, by how images do."""


def accelerators(root: Path = Path("/")) -> tuple[str, ...]:
    """Those that it has; `cpu` not among them."""
    return tuple(name for name, mark in _MARKS.items() if (root / mark).exists())


def can_emulate(arch: str, root: Path = Path("/")) -> bool:
    """Whether programs for another architecture, as images name it, run here in an emulator."""
    handlers = root / "proc/sys/fs/binfmt_misc"
    return (handlers / f"qemu-{_KERNEL_NAMES.get(arch, arch)}").exists()
