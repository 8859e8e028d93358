"""What a hub says of a model is believed only where it makes sense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otter_agent.images.hub import listing

GOOD = {"rfilename": "model.safetensors", "size": 3, "blobId": "00"}


def said(*siblings: Any, sha: object = "c0ffee") -> bytes:
    return json.dumps({"sha": sha, "siblings": siblings}).encode()


def test_a_list_that_makes_sense():
    commit, (file,) = listing(said(GOOD, {"rfilename": "model.bin"}))
    assert (commit, file.name, file.size_bytes, file.digest) == (
        "c0ffee", "model.safetensors", 3, "git:00",
    )  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"\xff", b"[" * 100_000, b"[]", b"{}",
        said(GOOD, sha="../.."), said(GOOD, sha="a" * 100), said(GOOD, sha=None),
        said(3), said({**GOOD, "size": None}), said({**GOOD, "size": -1}), said({**GOOD, "lfs": 1}),
        said({**GOOD, "size": 7}).replace(b"7", b"1e999"),
        *(said({**GOOD, "rfilename": name})
          for name in ("/a.json", "../a.json", "a/" * 20 + "b.json", "a\0.json", "\ud800.json")),
    ],
)  # fmt: skip
def test_any_other_is_refused(data: bytes):
    with pytest.raises(ValueError):
        listing(data)
