"""Memory that is free is given back when a module says that it is ready."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

SMALL, COUNT = 2000, 40_000
LEFT = f"""
import asyncio, ctypes, pathlib, sys
import net
from net.wiring import Wiring

def resident():
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * {os.sysconf("SC_PAGESIZE")}

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = resident()
places = [libc.malloc({SMALL}) for _ in range({COUNT})]
for place in places:
    ctypes.memset(ctypes.c_void_p(place), 1, {SMALL})
for place in places[:-1]:  # the last holds up the top of the heap
    libc.free(place)
kept = resident()

async def main():
    mesh = net.Mesh(Wiring("m", "a", "h", "127.0.0.1"), state=pathlib.Path(sys.argv[1]))
    async with mesh:
        await mesh.ready()
        await mesh.ready()

asyncio.run(main())
print(kept - before, resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library isn't glibc")
def test_what_was_freed_is_given_back(tmp_path):
    """80 MB, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LEFT, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kept, left = map(int, done.stdout.split())
    assert kept > 60e6
    assert left < 30e6
    assert (tmp_path / "ready").exists()


def test_a_library_that_cannot_is_no_error(monkeypatch):
    from net.freed import give_back

    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    give_back()


def test_a_python_without_ctypes_is_no_error(monkeypatch):
    from net.freed import give_back

    monkeypatch.setitem(sys.modules, "ctypes", None)
    give_back()
