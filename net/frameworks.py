"""Has PyTorch and TensorFlow keep to a module's part of a GPU's memory: `net.run` does so first.

    OTTER_GPU_MEMORY_BYTES      of each GPU, at most                ─┐ the agent sets both where the
    OTTER_GPU_MEMORY_FRACTION   the same, of the smallest one's     ─┘ topology asks for memory or a
                                memory, as CUDA shows it               share

Both frameworks would take what they find: TensorFlow all of it, at once. It is their own
allocators that are bound, so it is the mildest of all limits: the driver and MPS hold who wants
more (docs/gpu.md). A framework that isn't imported yet is told when it is; one that isn't there,
has no GPU, or doesn't know how, is left alone.

PyTorch is told a fraction of what CUDA shows of a GPU's memory. That is the GPU's own where nothing
limits it, but the limit under a driver's (cuMemGetInfo), the instance's in MIG, and each GPU's its
own: so the fraction is worked out for each, here, and the agent's is for code that can't.
Source: PyTorch, torch.cuda.memory, and setMemoryFraction of CUDACachingAllocator.cpp; TensorFlow,
tf.config.set_logical_device_configuration; NVIDIA, MPS v3 memory partitioning, "How limits are
reported".
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

BYTES, FRACTION = "OTTER_GPU_MEMORY_BYTES", "OTTER_GPU_MEMORY_FRACTION"
_log = logging.getLogger("net.frameworks")


class Part(NamedTuple):
    """Of each GPU's memory."""

    memory_bytes: int
    fraction: float | None


def part(environment: Mapping[str, str]) -> Part | None:
    """What the agent says; None: nothing. Nonsense is nothing."""
    memory, fraction = environment.get(BYTES, ""), environment.get(FRACTION, "")
    try:
        found = Part(int(memory), float(fraction) if fraction else None)
    except ValueError:
        return None
    if found.memory_bytes <= 0:
        return None
    if found.fraction is not None and not 0 < found.fraction <= 1:
        found = found._replace(fraction=None)
    return found


def prepare() -> None:
    """Tell the frameworks, now or when they are imported; nothing to tell: nothing is done."""
    told = part(os.environ)
    if told is None:
        return
    for name, tell in TELL.items():
        if name in sys.modules:
            _told(name, tell, told, sys.modules[name])
        else:
            sys.meta_path.insert(0, _Waiting(name, partial(_told, name, tell, told)))


def _told(name: str, tell: Callable[[Any, Part], str], told: Part, module: ModuleType) -> None:
    try:
        done = tell(module, told)
    except Exception as error:  # noqa: BLE001 - whatever a framework raises, the module may run
        _log.warning("%s can't be told its part of a GPU's memory: %s", name, error)
        return
    if done:
        _log.info("%s: %s", name, done)


def tell_torch(torch: Any, told: Part) -> str:
    """Bound PyTorch's allocator; what was done, "" without a GPU."""
    if not torch.cuda.is_available():
        return ""
    done = []
    for device in range(torch.cuda.device_count()):
        fraction = _fraction(torch, device, told)
        if fraction is not None:
            torch.cuda.set_per_process_memory_fraction(fraction, device)
            done.append(f"{fraction:.1%} of what GPU {device} shows of its memory")
    return ", ".join(done)


def _fraction(torch: Any, device: int, told: Part) -> float | None:
    """Of what CUDA shows of one GPU's memory; what the agent says where it shows nothing."""
    total = 0
    if hasattr(torch.cuda, "mem_get_info"):  # PyTorch 1.11 and newer
        _, total = torch.cuda.mem_get_info(device)
    return min(1.0, told.memory_bytes / total) if total > 0 else told.fraction


def tell_tensorflow(tensorflow: Any, told: Part) -> str:
    """Bound TensorFlow's allocator; what was done, "" without a GPU."""
    gpus: Sequence[Any] = tensorflow.config.list_physical_devices("GPU")
    if not gpus:
        return ""
    mebibytes = max(1, told.memory_bytes >> 20)
    limit = tensorflow.config.LogicalDeviceConfiguration(memory_limit=mebibytes)
    for gpu in gpus:
        tensorflow.config.set_logical_device_configuration(gpu, [limit])
    return f"{mebibytes} MiB of each GPU's memory"


TELL: Mapping[str, Callable[[Any, Part], str]] = {
    "torch": tell_torch,
    "tensorflow": tell_tensorflow,
}


class _Waiting(MetaPathFinder):
    """Waits until a package is imported, once. Others may ask meanwhile whether it is there."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder`: it is found by the others, and told when it has been loaded."""
        if fullname != self._name:
            return None
        others = [each for each in sys.meta_path if each is not self and hasattr(each, "find_spec")]
        asked = (each.find_spec(fullname, path, target) for each in others)
        found = next((spec for spec in asked if spec is not None), None)
        if found is not None and found.loader is not None:
            found.loader = _Told(found.loader, self._loaded)
        return found

    def _loaded(self, module: ModuleType) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._then(module)


class _Told(Loader):
    """Another loader, and what comes after it."""

    def __init__(self, loader: Loader, then: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See `Loader`."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """See `Loader`."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._then(module)
