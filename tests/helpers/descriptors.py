"""A process that has many files open."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

FD_SETSIZE = 1024
"""`select` takes no descriptor from this number on."""


@contextmanager
def many() -> Iterator[None]:
    """So many that the next one's number is beyond what `select` takes."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    _, most = before
    wanted = FD_SETSIZE + 100
    if most != resource.RLIM_INFINITY and most < wanted:
        pytest.skip("so many descriptors are more than may be")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], wanted), most))
    opened: list[int] = []
    try:
        while not opened or opened[-1] < FD_SETSIZE:
            opened.append(os.dup(0))
        yield
    finally:
        for fd in opened:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
