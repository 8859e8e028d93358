"""Images to and from engines with containerd's image store: what is asked of them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from helpers.containerd_store import ContainerdStore
from helpers.images import tar

from otter_agent.engine import Engine
from otter_agent.errors import ImageError
from otter_agent.images.builder import Builder
from otter_agent.images.sending.transfers import Transfers
from otter_agent.layout import Layout

BASE, CODE, OTHER = (tar({name: name.encode() * 5000}) for name in ("base", "code", "other"))


@pytest.fixture
async def ends(tmp_path):
    """Two such engines, and what sends and receives there."""
    async with AsyncExitStack() as stack:
        made = []
        for name in ("sender", "receiver"):
            store = ContainerdStore()
            url = await stack.enter_async_context(store.serving(tmp_path / f"{name}.sock"))
            engine = Engine(url)
            stack.push_async_callback(engine.aclose)
            transfers = Transfers(Builder(engine, name), Layout.at(tmp_path / name))
            made.append((store, transfers))
        yield made


async def send(sender, receiver, name):
    offer = await sender.offer(name)
    needs = await receiver.needs(offer)
    for need in needs.layers:
        parcels = sender.layer(offer.id, need.diff_id, need.start)
        await receiver.take(need.diff_id, need.start, parcels)
    if not needs.present:
        await receiver.load(offer)
    await sender.release(offer.id)
    return len(needs.layers)


async def test_it_gets_whole_images_once(ends):
    """Also what it has in another image: it takes no archive without."""
    (source, sender), (target, receiver) = ends
    source.add("x/y:1", [BASE, CODE], Cmd=["/run"], Env=["A=1"])
    assert await send(sender, receiver, "x/y:1") == 2
    assert target.images["x/y:1"] == source.images["x/y:1"]  # plain, and byte for byte
    assert await send(sender, receiver, "x/y:1") == 0
    source.add("x/y:2", [BASE, OTHER], Cmd=["/run"], Env=["A=1"])
    assert await send(sender, receiver, "x/y:2") == 2
    assert [len(names) for names in target.loaded] == [4, 4]


async def test_another_command_is_another_image_though_its_layers_are_there(ends):
    (source, sender), (target, receiver) = ends
    source.add("x/y:1", [BASE], Cmd=["/run"])
    await send(sender, receiver, "x/y:1")
    source.add("x/y:1", [BASE], Cmd=["/run", "faster"])
    assert await send(sender, receiver, "x/y:1") == 1
    assert target.images["x/y:1"] == source.images["x/y:1"]


async def test_layers_in_zstd_are_told(ends):
    (source, sender), (_, receiver) = ends
    source._compress = lambda layer: b"\x28\xb5\x2f\xfd" + layer
    source.add("x/y:1", [BASE], Cmd=["/run"])
    with pytest.raises(ImageError, match="compressed by zstd"):
        await send(sender, receiver, "x/y:1")


async def test_what_is_saved_for_several_is_saved_once_and_goes_with_the_last(ends):
    (source, sender), (_, receiver) = ends
    source.add("x/y:1", [BASE, CODE], Cmd=["/run"])
    await sender.offer("x/y:1")
    (file,) = sender._scratch.iterdir()
    assert await send(sender, receiver, "x/y:1") == 2
    assert list(sender._scratch.iterdir()) == [file]
    offer = await sender.offer("x/y:1")
    await sender.release(offer.id)
    assert list(sender._scratch.iterdir()) == [file]
    await sender.release(offer.id)
    assert list(sender._scratch.iterdir()) == []
