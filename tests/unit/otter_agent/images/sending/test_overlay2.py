"""Layers of a store on the disk: the tar from any byte on, and nothing but what is below it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile

import pytest

from otter_agent.images.sending import overlay2
from otter_agent.images.sending.overlay2 import Layer, Unreadable

FILES = {
    "bin/tool": os.urandom(3000),
    "bin/empty": b"",
    "etc/long": b"x" * 300_000,
    "etc/deep/er/file": b"deep",
    "last": os.urandom(512),
}


def make_tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def disassemble(tar, folder, split):
    """As the engine does when it takes a layer: files there, all else here."""
    lines, at = [], 0
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for entry in archive:
            segment = tar[at : entry.offset_data]
            lines.append({"type": 2, "payload": base64.b64encode(segment).decode()})
            file = {"type": 1, "name": entry.name, "position": len(lines)}
            if entry.size:
                file |= {"size": entry.size, "payload": "AAAA"}
            lines.append(file)
            path = folder / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar[entry.offset_data : entry.offset_data + entry.size])
            at = entry.offset_data + entry.size
    lines.append({"type": 2, "payload": base64.b64encode(tar[at:]).decode()})
    with gzip.open(split, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def layer(tmp_path):
    folder, split = tmp_path / "diff", tmp_path / "tar-split.json.gz"
    folder.mkdir()
    disassemble(make_tar(FILES), folder, split)
    return Layer(folder, split, sum(map(len, FILES.values())))


def test_the_tar_is_the_one_that_came(layer):
    assert b"".join(overlay2.read(layer)) == make_tar(FILES)


@pytest.mark.parametrize("start", [1, 511, 512, 2000, 3584, 200_000, 307_000])
def test_it_is_read_from_any_byte_on(layer, start):
    assert b"".join(overlay2.read(layer, start)) == make_tar(FILES)[start:]


def test_at_its_end_and_beyond_there_is_nothing(layer):
    whole = len(make_tar(FILES))
    assert list(overlay2.read(layer, whole)) == []
    assert list(overlay2.read(layer, whole + 5)) == []


@pytest.mark.parametrize("link", ["file", "folder"])
def test_a_link_leads_nowhere(layer, tmp_path, link):
    """An image is other people's: none of its links may show what this machine has."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "tool").write_bytes(os.urandom(3000))
    path = layer.folder / "bin/tool" if link == "file" else layer.folder / "bin"
    if link == "folder":
        path.rename(layer.folder / "was")
    else:
        path.unlink()
    path.symlink_to(secret / "tool" if link == "file" else secret)
    with pytest.raises((Unreadable, OSError)):
        list(overlay2.read(layer))


@pytest.mark.parametrize("name", ["../secret", "bin/../../secret", "", "/"])
def test_a_name_leads_nowhere_else(layer, name):
    with gzip.open(layer.split, "wt") as file:
        file.write(json.dumps({"type": 1, "name": name, "size": 3}) + "\n")
    with pytest.raises(Unreadable, match="of the name"):
        list(overlay2.read(layer))


def test_a_file_that_has_become_shorter_is_told(layer):
    os.truncate(layer.folder / "etc/long", 100)
    with pytest.raises(Unreadable, match="shorter"):
        list(overlay2.read(layer))


def test_chains_name_a_layer_by_all_below_it():
    a, b = (f"sha256:{letter * 64}" for letter in "ab")
    both = f"sha256:{hashlib.sha256(f'{a} {b}'.encode()).hexdigest()}"
    assert overlay2.chains([a, b]) == [a, both]
    assert overlay2.chains([]) == []


@pytest.mark.parametrize(
    "info",
    [
        {"Driver": "btrfs"},
        {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]},
        {"Driver": "overlay2", "DriverStatus": [["Native Overlay Diff", "false"]]},
        {"Driver": "overlay2", "DriverStatus": [["Native Overlay Diff", "true"]],
         "DockerRootDir": "/nowhere"},
    ],
)  # fmt: skip
def test_other_stores_are_left_to_their_engine(info):
    assert overlay2.store_of(info) is None


def test_what_isnt_in_the_store_is_told(tmp_path):
    with pytest.raises(Unreadable):
        overlay2.find(tmp_path, f"sha256:{'a' * 64}")
    for bad in ("sha256:..", "../x", "md5:1"):
        with pytest.raises(Unreadable, match="no digest"):
            overlay2.config(tmp_path, bad)
