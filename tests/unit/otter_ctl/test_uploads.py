"""Uploads: one folder, one digest, wherever and whenever; nothing from outside gets in."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import tarfile
from pathlib import Path

import pytest

from otter_ctl.errors import PlanError
from otter_ctl.planning import uploads
from otter_ctl.planning.uploads import collect, contents, context


def fill(folder: Path) -> Path:
    (folder / "pkg" / "empty").mkdir(parents=True)
    (folder / "module.py").write_text("x = 1\n")
    (folder / "pkg" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "pkg" / "run.sh").chmod(0o744)
    (folder / "pkg" / ("n" * 150)).write_text("long name")
    (folder / "pkg" / "naïve").write_text("é")
    (folder / "link").symlink_to("pkg/run.sh")
    return folder


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: info for info in tar}


def test_what_goes_in(tmp_path):
    data = context(fill(tmp_path))
    found = members(data)
    assert list(found) == [
        "link", "module.py", "pkg", "pkg/empty", "pkg/naïve", f"pkg/{'n' * 150}", "pkg/run.sh",
    ]  # fmt: skip
    assert found["pkg/run.sh"].mode == 0o755
    assert found["module.py"].mode == 0o644
    assert found["link"].linkname == "pkg/run.sh"
    owners = {(i.mtime, i.uid, i.gid, i.uname, i.gname) for i in found.values()}
    assert owners == {(0, 0, 0, "", "")}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.extractfile("module.py").read() == b"x = 1\n"


def test_it_is_what_tarfile_writes(tmp_path):
    """So what was built of a folder by a former version is still what is built of it."""
    data, buffer = context(fill(tmp_path)), io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as read,
        tarfile.TarFile(
            fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8"
        ) as written,
    ):
        for info in read:
            written.addfile(info, read.extractfile(info) if info.isreg() else None)
    assert buffer.getvalue() == data


def test_a_large_file_that_changes_while_it_is_read_harms_itself_alone(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (1 << 20))
    (tmp_path / "later").write_text("whole")
    pieces = uploads.packed(tmp_path, 8 << 20)
    read = [next(pieces), next(pieces)]
    (tmp_path / "large").write_bytes(b"")
    found = members(b"".join([*read, *pieces]))
    assert (found["large"].size, found["later"].size) == (1 << 20, 5)


def test_the_same_folder_elsewhere_and_later_is_the_same(tmp_path):
    first = fill(tmp_path / "one")
    second = tmp_path / "two"
    shutil.copytree(first, second, symlinks=True)
    for path in [second / "module.py", second]:
        os.utime(path, (1, 1))
    (second / "module.py").chmod(0o600)
    assert context(first) == context(second)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "module.py").write_text("x = 2\n"),
        lambda f: (f / "module.py").chmod(0o755),
        lambda f: (f / "module.py").rename(f / "other.py"),
        lambda f: (f / "pkg" / "empty").rmdir(),
        lambda f: ((f / "link").unlink(), (f / "link").symlink_to("module.py")),
    ],
)
def test_any_change_shows(tmp_path, change):
    before = context(fill(tmp_path))
    change(tmp_path)
    assert context(tmp_path) != before


def test_what_builds_and_editors_leave_is_skipped(tmp_path):
    before = context(fill(tmp_path))
    for name in ("__pycache__", "pkg/__pycache__", ".git"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("x")
    (tmp_path / "old.pyc").write_text("x")
    assert context(tmp_path) == before


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "pkg/../../secret", ".."])
def test_links_that_lead_out_are_refused(tmp_path, target):
    folder = fill(tmp_path / "in")
    (folder / "out").symlink_to(target)
    with pytest.raises(PlanError, match="is a link that leads out of the folder"):
        context(folder)


def test_a_link_that_leaves_by_another_link_is_refused(tmp_path):
    folder = fill(tmp_path / "in")
    (tmp_path / "secret").write_text("s")
    (folder / "pkg" / "top").symlink_to("..")
    (folder / "x").symlink_to("pkg/top/../secret")
    with pytest.raises(PlanError, match="is a link that leads out of the folder"):
        context(folder)


def test_folders_too_deep_are_refused(tmp_path):
    deepest = tmp_path / "/".join("d" * 64)
    deepest.mkdir(parents=True)
    context(tmp_path)
    (deepest / "module.py").write_text("x")
    with pytest.raises(PlanError, match="holds folders over 64 deep"):
        context(tmp_path)


def test_links_within_may_go_up(tmp_path):
    folder = fill(tmp_path)
    (folder / "pkg" / "up").symlink_to("../module.py")
    assert members(context(folder))["pkg/up"].linkname == "../module.py"


def test_what_is_no_file_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(tmp_path / "s"))
        with pytest.raises(PlanError, match="is neither a file nor a folder"):
            context(tmp_path)


def test_too_much_is_refused_without_reading_it(tmp_path):
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(uploads.CONTEXT_LIMIT + 1)  # sparse: takes no disk
    with pytest.raises(PlanError, match="larger than 256 MiB"):
        context(tmp_path)


def test_collecting_a_topology(read, full, folder):
    (folder / "data" / "question.wav").chmod(0o755)
    blobs = collect(read(full))
    assert set(blobs) == {folder / "asr", folder / "data" / "question.wav"}
    wav = blobs[folder / "data" / "question.wav"]
    assert (wav.size_bytes, wav.executable, wav.read()) == (4, True, b"RIFF")
    for digest, read_content in contents(blobs).items():
        assert hashlib.sha256(read_content()).hexdigest() == digest


def test_a_file_that_went_away_is_named(read, full, folder):
    topology = read(full)
    (folder / "data" / "question.wav").unlink()
    with pytest.raises(PlanError, match=r"module asr: .*question\.wav can't be read: No such file"):
        collect(topology)
