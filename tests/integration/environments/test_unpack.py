"""Unpacking uploaded module folders, which may be hostile."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.folders import tree

from otter_agent.images import context
from otter_agent.images.unpack import UnpackError, unpack

pytestmark = pytest.mark.untimed


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
        [("a", b"x"), ("a/", b"")],
        [(".", b"x")],
        [("x", "d/../evil"), ("d", ".")],
        [("x", "d/../../evil"), ("p/d", "."), ("d", "p/d")],
        [("a", "."), ("a/x", "b")],
        [("d", "e"), ("e", "d")],
        [("/".join("d" * 65), b"x")],
        [("/".join("d" * 1500), b"x")],
        [("n" * 256, b"x")],
        [("x", "n" * 5000)],
    ],
    ids=lambda members: str(members)[:60],
)
def test_what_leads_out_or_clashes_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes | str]]
) -> None:
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    with pytest.raises(UnpackError):
        unpack(pack(tmp_path / "t", *members), out)
    assert not list(tmp_path.rglob("evil"))
    assert not [path for path in out.rglob("*") if path.is_symlink()]


def test_links_may_go_through_links_and_to_nothing(tmp_path: Path) -> None:
    members = [("p/q/f", b"f"), ("here", "p/q"), ("f", "here/f"), ("none", "p/none"), ("dot", ".")]
    unpack(pack(tmp_path / "t", *members), tmp_path / "out")
    assert (tmp_path / "out" / "f").read_text() == "f"


def test_a_link_that_a_later_one_turns_reads_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    with pytest.raises(UnpackError, match="leads out of the module folder"):
        unpack(pack(tmp_path / "t", ("x", "d/../secret"), ("d", ".")), tmp_path / "out")
    assert not (tmp_path / "out" / "x").exists()


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


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "x,y"},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9" * 15},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"GNU.sparse.size": "many"},
        {"size": "-1024"},
        {"linkpath": "a\0b"},
        {"linkpath": ""},
        {"path": "a\0b"},
    ],
    ids=str,
)
def test_hostile_headers_are_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    with tarfile.open(tmp_path / "t", "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("module.py")
        entry.type = tarfile.SYMTYPE if "linkpath" in headers else tarfile.REGTYPE
        entry.pax_headers = headers
        archive.addfile(entry)
    with pytest.raises(UnpackError):
        unpack(tmp_path / "t", tmp_path / "out")


def test_headers_upon_headers_are_refused(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("x")
    entry.type = tarfile.XHDTYPE
    (tmp_path / "t").write_bytes(entry.tobuf() * 3000)
    with pytest.raises(UnpackError, match="not a tar"):
        unpack(tmp_path / "t", tmp_path / "out")


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "corrupt"])
@pytest.mark.parametrize("squeeze", [lzma.compress, gzip.compress, zlib.compress, bz2.compress])
def test_compressed_tars_are_refused(
    tmp_path: Path, squeeze: Callable[[bytes], bytes], whole: bool
) -> None:
    data = bytearray(squeeze(pack(tmp_path / "t", ("a", os.urandom(50_000))).read_bytes()))
    if not whole:
        data[600:700] = bytes(100)
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(UnpackError, match="not a tar"):
        unpack(tmp_path / "t", tmp_path / "out")


def test_the_agent_itself_reads_nothing_outside_of_a_module_folder(tmp_path: Path) -> None:
    folder, wheels = tmp_path / "in", tmp_path / "wheels"
    folder.mkdir()
    wheels.mkdir()
    (tmp_path / "secret").write_text("secret")
    for name in ("requirements.txt", ".dockerignore"):
        (folder / name).symlink_to("../secret")
    (folder / "Dockerfile").symlink_to("none")
    (folder / ".otter").symlink_to("../wheels")
    assert context.wanted(folder, "requirements.txt") == []
    context.complete(folder, wheels, wheels)
    assert (folder / "Dockerfile").read_text() == context.DEFAULT_DOCKERFILE.read_text()
    assert list(wheels.iterdir()) == []
    held = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    assert "secret" not in {path.read_text() for path in held}
    assert (tmp_path / "secret").read_text() == "secret"


def test_requirements_that_are_no_text_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"numpy # \xe9\n")
    assert context.wanted(tmp_path, "requirements.txt") == ["numpy"]
