"""What an archive of an interpreter has is told by what is in it, not by its name."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from otter_ctl.errors import RemoteError
from otter_ctl.machine import steps
from otter_ctl.machine.facts import Facts, parse
from otter_ctl.machine.interpreter import brought

X86 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00" + bytes(44)
ARM = X86.replace(b"\x3e\x00", b"\xb7\x00")


def facts(arch: str = "x86_64") -> Facts:
    found = parse("user=root\nuid=0\nsystem=Linux\nend=yes\n")
    assert found is not None
    return replace(found, arch=arch)


def archive(folder: Path, **files: bytes) -> Path:
    path = folder / "python.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            made.addfile(entry, io.BytesIO(content))
    return path


def test_version_and_processor_are_those_of_its_program(tmp_path: Path) -> None:
    path = archive(tmp_path, **{"python/bin/2to3": b"#!", "python/bin/python3.12": ARM})
    found = brought("pi", facts("aarch64"), path)
    assert found.python.version == (3, 12)
    assert found.python.usable
    assert found.python.path == f"{found.folder}/bin/python3.12"
    assert found.folder.startswith("/opt/otter/python/")
    other = archive(tmp_path, **{"python/bin/python3.12": ARM})
    assert brought("pi", facts("aarch64"), other).folder != found.folder, "the older one stays"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"python/bin/python3.12": ARM}, "is for aarch64, the machine is x86_64"),
        ({"python/bin/python3.12": b"#!/bin/sh"}, "is for no processors that are known"),
        ({"python/bin/python3.10": X86}, "Python 3.10 is older than 3.11"),
        ({"bin/python3.12": X86}, r"there is no python/bin/python3\.N in it"),
        ({}, r"there is no python/bin/python3\.N in it"),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    with pytest.raises(RemoteError, match=says):
        brought("pi", facts(), archive(tmp_path, **files))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x1f\x8b\x08\x00" + bytes(60)])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "python.tar.gz"
    path.write_bytes(content)
    with pytest.raises(RemoteError, match=r"python\.tar\.gz: "):
        brought("pi", facts(), path)


@pytest.mark.slow
def test_it_is_unpacked_whole_or_not_at_all(tmp_path: Path) -> None:
    """One that doesn't run there is told of, and is not taken for one that is there already."""
    top, staged = tmp_path / "otter", tmp_path / "staged"
    staged.mkdir()

    def unpacked(program: bytes, digest: str = "") -> int:
        path = archive(staged, **{"python/bin/python3.12": program})
        digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(staged / steps.ARCHIVE)
        folder = f"{steps.TOP}/python/abc"
        step = steps.unpack(folder, f"{folder}/bin/python3.12", str(staged), digest)
        script = step.script.replace(steps.TOP, str(top))
        return subprocess.run(["sh", "-euc", script], check=False).returncode

    assert unpacked(b"#!/bin/sh\nexit 7\n") == 7
    assert not (top / "python/abc").exists()
    assert unpacked(b"#!/bin/sh\n", "0" * 64) == 1, "it isn't what was sent"
    assert not (top / "python/abc").exists()
    assert unpacked(b"#!/bin/sh\n") == 0
    assert [path.name for path in (top / "python").iterdir()] == ["abc"]
    assert unpacked(b"#!/bin/sh\nexit 7\n") == 0, "it is there already"
