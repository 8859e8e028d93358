"""What an engine is given to load."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile

from otter_agent.images.sending.archive import archive
from otter_agent.images.sending.received import Received
from otter_agent.images.sending.saved import index, read

DIFF_IDS = [f"sha256:{letter * 64}" for letter in "abc"]


async def test_it_holds_the_new_layers_alone(tmp_path):
    layer, config = tmp_path / "layer", b'{"rootfs": {}}'
    layer.write_bytes(os.urandom(70_001))
    parts = archive(config, "x/y:1", DIFF_IDS, {DIFF_IDS[1]: layer})
    data = b"".join([part async for part in parts])
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as made:
        names = [f"{hashlib.sha256(config).hexdigest()}.json", f"{'b' * 64}.tar", "manifest.json"]
        assert made.getnames() == names
        said = [made.extractfile(name).read() for name in names]
    assert said[:2] == [config, layer.read_bytes()]
    (image,) = json.loads(said[2])
    assert image["RepoTags"] == ["x/y:1"]
    assert image["Layers"] == [f"{letter * 64}.tar" for letter in "abc"]


async def test_what_is_written_can_be_read_from_any_byte_on(tmp_path):
    layer, out = tmp_path / "layer", tmp_path / "out.tar"
    layer.write_bytes(os.urandom(600_000))
    config = json.dumps({"rootfs": {"diff_ids": DIFF_IDS[:1]}}).encode()
    parts = archive(config, "x:1", DIFF_IDS[:1], {DIFF_IDS[0]: layer})
    out.write_bytes(b"".join([part async for part in parts]))
    saved = index(out)
    assert saved.config == config
    for start in (0, 5, 300_000, 600_000):
        assert b"".join(read(saved, DIFF_IDS[0], start)) == layer.read_bytes()[start:]


def test_names_of_what_came_are_remembered(tmp_path):
    file = tmp_path / "deep/received.json"
    Received(file).add("a:1")
    Received(file).add("b:1")
    Received(file).keep_only({"b:1", "c:1"})
    assert Received(file).names() == {"b:1"}
    file.write_text("{")
    assert Received(file).names() == set()
