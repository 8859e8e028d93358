"""An image under way from a machine that is somebody else's by now."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_ctl.client import AgentClient
from otter_ctl.errors import AgentFault
from otter_ctl.images.calls import ImageCalls
from otter_ctl.images.sending import send


async def test_an_image_comes_by_no_other_name_than_it_was_asked_for(peer, hear):
    """Or the base of all that a machine builds could be another one from then on."""
    offer = api.encode(
        api.ImageOffer(
            reference="python:3.11-slim-bookworm", id="sha256:0", kind="cpu-amd64",
            config="{}", layers=(), digest="",
        )
    )  # fmt: skip
    asked: list[bytes] = []

    async def handle(reader, writer):
        while True:
            asked.append(await hear(reader))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(offer) + offer)
            await writer.drain()

    async with peer.serving(handle), AgentClient(peer.socket) as client:
        calls = ImageCalls(client, "m1")
        with pytest.raises(AgentFault, match="asked for image otter/asr:1 it offers 'python:3"):
            await send("otter/asr:1", calls, calls, lambda sending: None)
    assert [head.split()[:2] for head in asked] == [
        [b"GET", b"/v1/images/offer?reference=otter%2Fasr%3A1"]
    ]
