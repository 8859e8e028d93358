"""What was sent before is gone on with, as far as it is right, and while it is young."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from otter_ctl.machine import staging

FILES = [("one.whl", b"the first"), ("deps/two.whl", b"the second"), ("three.whl", b"the third")]


def line(name: str, raw: bytes) -> str:
    return f"{len(raw)} {hashlib.sha256(raw).hexdigest()} ./{name}\n"


def test_only_what_is_lacking_is_sent() -> None:
    said = "Welcome!\n" + line("one.whl", b"the first") + line("deps/two.whl", b"the s")
    found = staging.compared(FILES, said + line("other.whl", b"of somebody") + "/tmp/otter-add.x\n")
    assert found.come == {"one.whl": 9, "deps/two.whl": 5, "three.whl": 0}
    assert found.come_bytes == 14
    assert found.rests() == [("deps/two.whl", b"econd")]
    with tarfile.open(fileobj=io.BytesIO(found.tar())) as archive:
        assert archive.getnames() == ["three.whl"]


@pytest.mark.parametrize("there", [b"THE FIRST", b"the firsT", b"the first, and more", b""])
def test_what_is_there_and_is_not_right_is_sent_anew(there: bytes) -> None:
    found = staging.compared(FILES, line("one.whl", there))
    assert found.come["one.whl"] == 0
    with tarfile.open(fileobj=io.BytesIO(found.tar())) as archive:
        assert "one.whl" in archive.getnames()


def test_where_all_has_come_nothing_is_sent() -> None:
    found = staging.compared(FILES, "".join(line(name, raw) for name, raw in FILES))
    assert (found.rests(), found.tar()) == ([], b"")


def made(folder: Path) -> tuple[Path, str]:
    """The folder that is made, below another one than /tmp, and all that is said."""
    script = staging.make(FILES).replace("/tmp", str(folder))
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return Path(done.stdout.splitlines()[-1]), done.stdout


def age(folder: Path, minutes: float) -> None:
    at = time.time() - 60 * minutes
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (at, at), follow_symlinks=False)


def test_a_folder_that_is_young_is_taken_again_and_an_old_one_is_not(tmp_path: Path) -> None:
    """Old ones may have been laid there long before; what was sent says so, as it is newer."""
    first, said = made(tmp_path)
    assert staging.compared(FILES, said).come_bytes == 0
    (first / "one.whl").write_bytes(b"the f")
    age(first, 50)
    again, said = made(tmp_path)
    assert (again, staging.compared(FILES, said).come_bytes) == (first, 5)
    age(first, 70)
    (first / "three.whl").write_bytes(b"the")  # its way was slow, and was cut only now
    os.utime(first, (0, 0))
    again, said = made(tmp_path)
    assert (again, staging.compared(FILES, said).come_bytes) == (first, 8)
    age(first, 70)
    other, said = made(tmp_path)
    assert other != first
    assert staging.compared(FILES, said).come_bytes == 0
    assert list(tmp_path.iterdir()) == [other], "the old one has gone"


def test_a_folder_that_others_may_write_to_or_that_leads_elsewhere_is_not_taken(
    tmp_path: Path,
) -> None:
    first, _ = made(tmp_path)
    first.chmod(0o770)
    second, _ = made(tmp_path)
    assert second != first
    first.rmdir()
    first.symlink_to(second)
    third, _ = made(tmp_path)
    assert third not in (first, second)
    assert third.stat().st_mode & 0o777 == 0o700
