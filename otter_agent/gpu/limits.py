"""Limits of a GPU's memory by control group, set by NVIDIA's driver (R615 and newer) and read back.

The hard limit is set, and no soft one: that would reserve memory in all groups above, for good if
a group goes without a word. Source: NVIDIA, "MPS v3 Memory Partitioning"; NVML API Reference Guide,
nvmlDeviceSetMemoryLimits_v1. Must not know: modules.
"""

from __future__ import annotations

from typing import Any

import pynvml

from otter_agent.gpu.words import Limit, LimitOrder

TOO_OLD = "needs NVIDIA's driver R615 or newer"
_MAX = (1 << 64) - 1
_WHY = {
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: TOO_OLD,
    pynvml.NVML_ERROR_NOT_SUPPORTED: "the driver can't limit this GPU's memory (MIG can't be)",
    pynvml.NVML_ERROR_NO_PERMISSION: "only root may limit a GPU's memory",
    pynvml.NVML_ERROR_NOT_FOUND: (
        "the driver knows of no such control group: it wants cgroup v2, with the dmem controller "
        "where the kernel has it"
    ),
}
_UNSET = (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NOT_FOUND)
"""Of who asks: the group has no limit. The driver says the same where there can be none: only to
set one tells that apart."""


def do(order: LimitOrder) -> Limit:
    """Set what is asked, and read back what holds then."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(order.uuid)
        if order.change and (why := _set(handle, order)):
            return Limit(error=why)
        return _get(handle, order.folder)
    except AttributeError:
        return Limit(error="needs nvidia-ml-py 13.615 or newer")
    except pynvml.NVMLError as error:
        old = error.value == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
        return Limit(error=TOO_OLD if old else f"NVIDIA's driver: {error}")


def _set(handle: Any, order: LimitOrder) -> str:
    """Why it can't be; "" if it is."""
    wanted = pynvml.c_nvmlSetMemoryLimits_v1_t()
    wanted.nameSpace = order.folder.encode()
    wanted.softLimit = 0
    wanted.hardLimit = _MAX if order.hard_bytes is None else order.hard_bytes
    try:
        pynvml.nvmlDeviceSetMemoryLimits_v1(handle, wanted)
    except pynvml.NVMLError as error:
        return _WHY.get(error.value) or f"NVIDIA's driver: {error}"
    return ""


def _get(handle: Any, folder: str) -> Limit:
    found = pynvml.c_nvmlGetMemoryLimits_v1_t()
    found.nameSpace = folder.encode()
    try:
        pynvml.nvmlDeviceGetMemoryLimits_v1(handle, found)
    except pynvml.NVMLError as error:
        if error.value in _UNSET:
            return Limit()
        raise
    hard = None if found.hardLimit == _MAX else int(found.hardLimit)
    return Limit(hard_bytes=hard, used_bytes=int(found.currentUsed))
