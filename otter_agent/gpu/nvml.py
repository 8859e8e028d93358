"""Reading GPUs through NVIDIA's Management Library, by its own binding (pynvml).

What a GPU doesn't tell is None and named in `untold`, never an error; one that can't be asked at
all (lost, no permission) has that as its `error`, alone. Values of the library are converted to
SI units here. Source: NVIDIA, NVML API Reference Guide. Must not know: modules, the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar

import pynvml

from otter_agent import api

T = TypeVar("T")

ENDS = frozenset(
    {pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
     pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED,
     pynvml.NVML_ERROR_GPU_NOT_FOUND, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}
)  # fmt: skip
"""Codes of a value that say that the GPU can't be asked at all. With any other one value isn't to
be had, while all else may be: some drivers call a healthy GPU's power an "Unknown Error"."""
ABSENT = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver here (libnvidia-ml.so.1)",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "NVIDIA's driver isn't loaded",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        "NVIDIA's driver and its library differ in version, as after an upgrade: load the driver "
        "anew, or restart the machine"
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: "the agent may not ask NVIDIA's driver",
}
_KINDS: tuple[tuple[Literal["compute", "graphics", "mps"], str], ...] = (
    ("compute", "nvmlDeviceGetComputeRunningProcesses_v3"),
    ("mps", "nvmlDeviceGetMPSComputeRunningProcesses_v3"),
    ("graphics", "nvmlDeviceGetGraphicsRunningProcesses_v3"),
)


class Gone(Exception):  # noqa: N818 - not a fault: there is no driver
    """No driver can be asked; the text says why."""


@contextmanager
def opened() -> Iterator[None]:
    """The library, for as long as the block lasts. Raises `Gone`."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise Gone(reason(error)) from error
    try:
        yield
    finally:
        with suppress(pynvml.NVMLError):  # it went while we used it
            pynvml.nvmlShutdown()


def reason(error: pynvml.NVMLError) -> str:
    """In a line."""
    return ABSENT.get(error.value) or f"NVIDIA's driver: {error}"


def read() -> api.GpuState:
    """All GPUs, now. Raises `Gone`."""
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        raise Gone(reason(error)) from error
    gpus = tuple(map(_gpu, range(count)))
    return api.GpuState(
        driver="nvml",
        why="" if gpus else "the driver knows of no GPU",
        driver_version=_text(pynvml.nvmlSystemGetDriverVersion),
        cuda=_cuda(),
        gpus=gpus,
    )


def answering() -> dict[int, str]:
    """GPUs that can be asked: number -> uuid. Costs little."""
    found = {}
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            try:
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                ask = _Asking(handle)
                ask.get("power", pynvml.nvmlDeviceGetPowerUsage)  # from the GPU, not from memory
                found[index] = ask.get("uuid", pynvml.nvmlDeviceGetUUID) or ""
            except pynvml.NVMLError:
                continue
    except pynvml.NVMLError:
        pass
    return found


def _text(ask: Callable[[], Any]) -> str:
    try:
        found = ask()
    except pynvml.NVMLError:
        return ""
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)


def _cuda() -> str:
    try:
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    except pynvml.NVMLError:
        return ""
    return f"{number // 1000}.{number % 1000 // 10}"


class _Asking:
    """One GPU's values, and what of them it doesn't tell."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self.untold: list[str] = []

    def get(self, name: str, ask: Callable[..., T], *args: Any) -> T | None:
        """A value, or None where it isn't to be had.

        Raises:
            pynvml.NVMLError: The GPU itself can't be asked.
        """
        try:
            return ask(self._handle, *args)
        except pynvml.NVMLError as error:
            if error.value in ENDS:
                raise
            if name not in self.untold:
                self.untold.append(name)
            return None


def _gpu(index: int) -> api.GpuStatus:
    try:
        return _status(index, _Asking(pynvml.nvmlDeviceGetHandleByIndex(index)))
    except pynvml.NVMLError as error:
        return api.GpuStatus(index=index, error=reason(error))


def _status(index: int, ask: _Asking) -> api.GpuStatus:
    memory = ask.get("memory", pynvml.nvmlDeviceGetMemoryInfo)
    use = ask.get("utilisation", pynvml.nvmlDeviceGetUtilizationRates)
    core, of_memory = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM
    clock = ask.get("clock", pynvml.nvmlDeviceGetClockInfo, core)
    highest = ask.get("clock", pynvml.nvmlDeviceGetMaxClockInfo, core)
    memory_clock = ask.get("memory clock", pynvml.nvmlDeviceGetClockInfo, of_memory)
    sensor = pynvml.NVML_TEMPERATURE_GPU
    temperature = ask.get("temperature", _temperature, sensor)
    power = ask.get("power", pynvml.nvmlDeviceGetPowerUsage)
    limit = ask.get("power limit", pynvml.nvmlDeviceGetPowerManagementLimit)
    mig = ask.get("mig", pynvml.nvmlDeviceGetMigMode)
    return api.GpuStatus(
        index=index,
        uuid=ask.get("uuid", pynvml.nvmlDeviceGetUUID) or "",
        name=ask.get("name", pynvml.nvmlDeviceGetName) or "",
        memory_bytes=memory.total if memory else None,
        memory_used_bytes=memory.used if memory else None,
        utilisation=use.gpu / 100 if use else None,
        memory_utilisation=use.memory / 100 if use else None,
        clock_hz=_of(clock, 1e6),
        clock_max_hz=_of(highest, 1e6),
        memory_clock_hz=_of(memory_clock, 1e6),
        temperature_c=_of(temperature, 1),
        power_w=_of(power, 1e-3),
        power_limit_w=_of(limit, 1e-3),
        mig=None if mig is None else bool(mig[0]),
        processes=tuple(_processes(ask)),
        untold=tuple(ask.untold),
    )


def _temperature(handle: Any, sensor: int) -> float:
    """By the call that drivers as old as R535 and R550 have, where they lack the one of today."""
    try:
        return float(pynvml.nvmlDeviceGetTemperatureV(handle, sensor))
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
        return float(pynvml.nvmlDeviceGetTemperature(handle, sensor))


def _of(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _processes(ask: _Asking) -> Iterator[api.GpuProcess]:
    """One line a process: who is a client of MPS is told as that, not as computing, too."""
    seen: set[tuple[int, str]] = set()
    for kind, name in reversed(_KINDS):
        for process in ask.get("processes", getattr(pynvml, name)) or ():
            if (process.pid, kind) in seen or (kind == "compute" and (process.pid, "mps") in seen):
                continue
            seen.add((process.pid, kind))
            used = process.usedGpuMemory
            yield api.GpuProcess(pid=process.pid, kind=kind, memory_bytes=used)
