"""Imports stay light: a topology loader needs units, not numpy."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["net", "net.errors", "net.units", "net.links.spec"])
def test_neither_numpy_nor_asyncio(name):
    code = f"import sys, {name}; print(*sorted({{'numpy', 'asyncio'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_every_exported_name_exists():
    import net

    for name in net.__all__:
        assert getattr(net, name) is not None
    assert set(net.__all__) <= set(dir(net))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = net.nonsense
