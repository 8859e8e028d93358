"""Unpacking uploaded module folders, which may be hostile."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from helpers.folders import tree

from otter_agent.images.unpack import UnpackError, unpack


def pack(file: Path, *members: tuple[str, bytes | str], mode: int = 0o644) -> Path:
    """Members: (name, content), a folder if it ends with /, a link if the content is a str."""
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode = mode
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            elif name.endswith("/"):
                entry.type = tarfile.DIRTYPE
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return file


def test_files_folders_and_links_inside(tmp_path: Path) -> None:
    members = [("data/", b""), ("data/a.txt", b"a"), ("./module.py", b"x"), ("b.txt", "data/a.txt")]
    unpack(pack(tmp_path / "t", *members), tmp_path / "out")
    assert tree(tmp_path / "out") == {"data", "data/a.txt", "module.py", "b.txt"}
    assert (tmp_path / "out" / "b.txt").read_text() == "a"
    assert (tmp_path / "out" / "module.py").stat().st_mode & 0o777 == 0o444


def test_programs_stay_programs_and_lose_setuid(tmp_path: Path) -> None:
    unpack(pack(tmp_path / "t", ("run.sh", b"x"), mode=0o6755), tmp_path / "out")
    assert (tmp_path / "out" / "run.sh").stat().st_mode & 0o7777 == 0o555


@pytest.mark.parametrize(
    "members",
    [
        [("/etc/evil", b"x")],
        [("../evil", b"x")],
        [("a/../../evil", b"x")],
        [("evil", "/etc/passwd")],
        [("evil", "../../etc/passwd")],
        [("a", "."), ("b", "a/../.."), ("c", "b/evil")],
        [("loop", "loop")],
        [("a", b"x"), ("a/b", b"x")],
        [("a/b", b"x"), ("a", b"x")],
        [("a/", b""), ("a", "b")],
    ],
    ids=str,
)
def test_what_leads_out_or_clashes_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes | str]]
) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    with pytest.raises(UnpackError):
        unpack(pack(tmp_path / "t", *members), out)
    assert not list(tmp_path.rglob("evil"))


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    members = [("way", str(tmp_path / "target")), ("way/evil", b"x")]
    with pytest.raises(UnpackError):
        unpack(pack(tmp_path / "t", *members), tmp_path / "out")
    assert list((tmp_path / "target").iterdir()) == []


def test_devices_and_hard_links_are_refused(tmp_path: Path) -> None:
    for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE):
        with tarfile.open(tmp_path / "t", "w") as archive:
            entry = tarfile.TarInfo("evil")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
        with pytest.raises(UnpackError, match="neither"):
            unpack(tmp_path / "t", tmp_path / "out")


@pytest.mark.parametrize("data", [b"", b"no tar", os.urandom(2048)])
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(UnpackError, match="not a tar"):
        unpack(tmp_path / "t", tmp_path / "out")


def test_a_tar_that_was_cut_is_refused(tmp_path: Path) -> None:
    whole = pack(tmp_path / "t", ("a", os.urandom(5000))).read_bytes()
    (tmp_path / "t").write_bytes(whole[:3000])
    with pytest.raises(UnpackError):
        unpack(tmp_path / "t", tmp_path / "out")
