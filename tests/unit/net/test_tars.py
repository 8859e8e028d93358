"""Tars of hostile folders, and hostile tars: nothing is read or written elsewhere."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from functools import partial

import pytest

from net import tars


@pytest.fixture
def folders(tmp_path):
    """A source and a target, as descriptors."""
    opened = []
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        opened.append(os.open(tmp_path / name, os.O_RDONLY | os.O_DIRECTORY))
    yield opened
    for fd in opened:
        os.close(fd)


def packed(*chunks, end=tars.END):
    return io.BytesIO(b"".join(chunks) + end)


def made(*members, content=b"x"):
    """A tar of (name, type, link) members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, link in members:
            info = tarfile.TarInfo("x")
            info.type, info.linkname, info.pax_headers = kind, link, {"path": name}
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def test_there_and_back(tmp_path, folders):
    top = tmp_path / "source" / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "text").write_text("text")
    (top / "a" / "text").chmod(0o751)
    os.utime(top / "a" / "text", (1e9, 1e9))
    (top / "a" / "link").symlink_to("/etc/passwd")
    (top / ("n" * 255)).write_bytes(bytes(range(256)) * 9000)
    (top / "\udcff").write_text("no UTF-8")
    os.mkfifo(top / "pipe")
    done = tars.unpack(packed(*tars.pack(folders[0], "top", "top")), folders[1], ("top", "new"))
    assert (done.failed, done.skipped) == ([], [])
    new = tmp_path / "target" / "new"
    assert sorted(os.listdir(new)) == sorted(["a", "n" * 255, "\udcff"])
    assert os.readlink(new / "a" / "link") == "/etc/passwd"
    facts = (new / "a" / "text").stat()
    assert (facts.st_mode & 0o777, facts.st_mtime) == (0o751, 1e9)
    assert (new / ("n" * 255)).read_bytes() == bytes(range(256)) * 9000


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")
def test_one_that_nobody_reads_to_its_end_leaves_nothing_open(tmp_path, folders):
    (tmp_path / "source" / "top" / "below").mkdir(parents=True)
    before = set(os.listdir("/proc/self/fd"))
    for chunks in (1, 2):
        tar = tars.pack(folders[0], "top", "top")
        for _ in range(chunks):
            next(tar)
        tar.close()
        assert set(os.listdir("/proc/self/fd")) <= before  # others end by themselves


@pytest.fixture
def after_the_first_look(monkeypatch):
    """Has something done once anything was looked at, whichever way that is done."""

    def prepare(act):
        acts = [act]

        def look(real, *where, **how):
            facts = real(*where, **how)
            while acts:
                acts.pop()()
            return facts

        for name in ("stat", "lstat", "fstat"):
            monkeypatch.setattr(os, name, partial(look, getattr(os, name)))

    return prepare


@pytest.mark.parametrize("new", ["link", "pipe", "folder", "file"])
@pytest.mark.parametrize("old", ["file", "folder", "link"])
def test_what_gets_the_name_of_another_thing_meanwhile_is_not_read(
    tmp_path, folders, after_the_first_look, old, new
):
    """A module may do that at any moment, to have another's file copied, or a device opened."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    make = {
        "link": lambda path, what: path.symlink_to(outside / what),
        "pipe": lambda path, _: os.mkfifo(path),
        "folder": lambda path, what: (path.mkdir(), (path / what).touch()),
        "file": lambda path, what: path.write_text(what),
    }
    path = tmp_path / "source" / "x"
    make[old](path, "old")

    def swap():
        path.rename(tmp_path / "moved")
        make[new](path, "secret")

    after_the_first_look(swap)
    data = packed(*tars.pack(folders[0], "x", "x"))
    with tarfile.open(fileobj=data) as archive:
        found = {member.name: member for member in archive}
        assert found["x"].type == {"file": REG, "folder": DIR, "link": SYM}[old]
        assert set(found) == ({"x", "x/old"} if old == "folder" else {"x"})
        if old == "file":
            assert archive.extractfile("x").read() == b"old"
        if old == "link":
            assert found["x"].linkname == str(outside / "old")


def holes(path, size=10 << 30):
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(size // 2)
        file.write(b"middle")
        file.truncate(size)


def test_holes_do_not_travel(tmp_path, folders):
    holes(tmp_path / "source" / "big")
    data = b"".join(tars.pack(folders[0], "big", "big"))
    assert len(data) < 1 << 16
    done = tars.unpack(packed(data), folders[1])
    assert (done.files, done.failed) == (1, [])
    facts = (tmp_path / "target" / "big").stat()
    assert facts.st_size == 10 << 30
    assert facts.st_blocks * 512 < 1 << 16
    with (tmp_path / "target" / "big").open("rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek((5 << 30) - 1)
        assert file.read(8) == b"\0middle\0"


@pytest.mark.slow
def test_gnu_tar_reads_it(tmp_path, folders):
    holes(tmp_path / "source" / "big", 1 << 24)
    (tmp_path / "t").write_bytes(packed(*tars.pack(folders[0], "big", "big")).getvalue())
    subprocess.run(["tar", "-xf", tmp_path / "t", "-C", tmp_path / "target"], check=True)
    source, target = tmp_path / "source" / "big", tmp_path / "target" / "big"
    assert target.read_bytes() == source.read_bytes()


def test_a_file_that_shrinks_meanwhile_is_filled_up(tmp_path, folders):
    path = tmp_path / "source" / "f"
    path.write_bytes(b"x" * 5000)
    chunks = tars.pack(folders[0], "f", "f")
    first = next(chunks)
    path.write_bytes(b"y")
    assert tars.unpack(packed(first, *chunks), folders[1]).failed == []
    assert (tmp_path / "target" / "f").stat().st_size == 5000


@pytest.mark.slow
def test_a_folder_of_many_files_takes_few_descriptors(tmp_path, folders):
    for number in range(3000):
        (tmp_path / "source" / str(number)).touch()
    most = 0
    for _ in tars.pack(os.open(tmp_path, os.O_RDONLY), "source", "s"):
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert most < 60


REG, SYM, LNK, DIR = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("../x", REG, "")],
        [("a/../../x", REG, "")],
        [("a", SYM, "/"), ("a/x", REG, "")],
        [("a", SYM, ".."), ("a/x", REG, "")],
        [("a", SYM, "../outside"), ("a", REG, "")],
        [("a", LNK, "../outside/mine")],
        [("b", SYM, "../outside"), ("a", LNK, "b/mine")],
        [("../outside", DIR, "")],
    ],
    ids=str,
)
def test_hostile_tars_write_nowhere_else(tmp_path, folders, members):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("mine")
    done = tars.unpack(made(*members), folders[1])
    assert sorted(os.listdir(tmp_path)) == ["outside", "source", "target"]
    assert [path.read_text() for path in outside.iterdir()] == ["mine"]
    assert not os.path.exists("/x")
    assert done.failed or not (tmp_path / "target" / "a").is_symlink()


def test_devices_are_skipped_and_folders_kept(tmp_path, folders):
    (tmp_path / "target" / "d").mkdir()
    done = tars.unpack(
        made(("p", tarfile.FIFOTYPE, ""), ("d", REG, ""), ("e", REG, "")), folders[1]
    )
    assert done.skipped == ["p"]
    assert [name for name, _ in done.failed] == ["d"]
    assert sorted(os.listdir(tmp_path / "target")) == ["d", "e"]


def test_an_absolute_name_is_one_below(tmp_path, folders):
    tars.unpack(made(("/etc/x", REG, "")), folders[1])
    assert (tmp_path / "target" / "etc" / "x").exists()


@pytest.mark.parametrize("data", [b"no tar", bytes(range(256)) * 8, b"\x1f\x8b" + bytes(600)])
def test_what_is_no_tar(folders, data):
    with pytest.raises(tars.BROKEN):
        tars.unpack(io.BytesIO(data), folders[1])


def test_an_early_end(tmp_path, folders):
    (tmp_path / "source" / "f").write_bytes(b"x" * 100_000)
    data = b"".join(tars.pack(folders[0], "f", "f"))
    with pytest.raises(tars.BROKEN):
        tars.unpack(io.BytesIO(data[:50_000]), folders[1])
    assert os.listdir(tmp_path / "target") == []
