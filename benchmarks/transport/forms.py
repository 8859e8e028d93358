"""Arrays for libraries that carry bytes: no more than somebody would write who uses them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.transport.peer import Task


def from_bytes(task: Task) -> Callable[[Any], Any]:
    """What makes the task's value of the bytes that arrived, without a copy."""
    value = task.make()
    if not isinstance(value, np.ndarray):
        return lambda received: received
    dtype, shape = value.dtype, value.shape
    return lambda received: np.frombuffer(received, dtype).reshape(shape)


def to_bytes(task: Task) -> Callable[[Any], bytes]:
    """What makes bytes of the task's value, for libraries that take nothing else."""
    if isinstance(task.make(), np.ndarray):
        return lambda array: array.tobytes()
    return lambda data: data


def is_large(task: Task) -> bool:
    """Whether it's worth sending without a copy."""
    return isinstance(task.make(), np.ndarray)
