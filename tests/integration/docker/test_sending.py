"""Images between two real engines, without a way between: both ends in one process."""

from __future__ import annotations

import json
import os
import time
import uuid

import pytest
from helpers.dockerd import Dockerd, unavailable
from helpers.images import tar

from otter_agent import api
from otter_agent.engine import Engine
from otter_agent.errors import AgentError
from otter_agent.images.builder import Builder
from otter_agent.images.sending import overlay2
from otter_agent.images.sending.transfers import Transfers
from otter_agent.layout import Layout

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(120)]

CMD = 'CMD ["/busybox"]'


@pytest.fixture(scope="module")
def other(require):
    """A second engine."""
    require("docker", not unavailable(), unavailable())
    with Dockerd() as engine:
        yield engine


@pytest.fixture
async def ends(dockerd, other, tmp_path):
    """Sender and receiver."""
    made = []
    for name, one in (("sender", dockerd), ("receiver", other)):
        engine = Engine(one.url)
        made.append(Transfers(Builder(engine, name), Layout.at(tmp_path / name)))
    yield made
    for one in made:
        await one._engine.aclose()


@pytest.fixture
def image(dockerd, other):
    """A name; what has it is gone afterwards."""
    name = f"otter-test/sent-{uuid.uuid4().hex[:12]}:1"
    yield name
    for engine in (dockerd, other):
        tags = [t for i in engine.request("GET", "/images/json") for t in i["RepoTags"] or []]
        for tag in sorted(tags):  # what is built on a base before the base
            if tag.startswith(name.rpartition(":")[0]):
                engine.request("DELETE", f"/images/{tag}")
        engine.request("POST", "/images/prune")


def build(engine, name, *contents):
    """An image of a base and a layer for each content; returns its id."""
    base = f"{name}-base"
    if base not in str(engine.request("GET", "/images/json")):  # no two tests share a layer
        engine.import_image(base, tar({"busybox": uuid.uuid4().bytes * 1000}), CMD)
    files = {f"f{i}": data for i, data in enumerate(contents)}
    lines = [f"FROM {base}", *(f"COPY f{i} /" for i in range(len(contents))), CMD]
    engine.build(name, tar({**files, "Dockerfile": "\n".join(lines).encode()}))
    return engine.request("GET", f"/images/{name}/json")["Id"]


async def send(sender, receiver, name):
    """All of it; which layers that took."""
    offer = await sender.offer(name)
    needs = await receiver.needs(offer)
    for need in needs.layers:
        parcels = sender.layer(offer.id, need.diff_id, need.start)
        await receiver.take(need.diff_id, need.start, parcels)
    if not needs.present:
        await receiver.load(offer)
    await sender.release(offer.id)
    return [need.diff_id for need in needs.layers]


async def test_only_layers_that_the_other_engine_lacks_are_sent(ends, dockerd, other, image):
    first = build(dockerd, image, b"a" * 9000, b"code")
    assert len(await send(*ends, image)) == 3
    assert other.request("GET", f"/images/{image}/json")["Id"] == first
    second = build(dockerd, image, b"a" * 9000, b"edoc")
    assert second != first
    assert len(await send(*ends, image)) == 1
    assert other.request("GET", f"/images/{image}/json")["Id"] == second
    assert await send(*ends, image) == []


async def test_the_disk_and_the_engine_say_the_same(ends, dockerd, image, monkeypatch):
    """What is read from its store is what `docker save` writes; so an engine elsewhere will do."""
    build(dockerd, image, b"x" * 300_000, bytes(5))
    sender = ends[0]
    assert overlay2.store_of(await sender._engine.info()) is not None
    direct = await sender.offer(image)
    monkeypatch.setattr(overlay2, "store_of", lambda info: None)
    saved = await sender.offer(image)
    assert (saved.id, saved.config) == (direct.id, direct.config)
    assert len(list(sender._scratch.iterdir())) == 1
    assert len(await send(*ends, image)) == 3
    await sender.release(saved.id)
    assert list(sender._scratch.iterdir()) == []


async def test_an_image_without_its_layers_isnt_loaded(ends, dockerd, image):
    build(dockerd, image, b"one")
    offer = await ends[0].offer(image)
    with pytest.raises(AgentError) as caught:
        await ends[1].load(offer)
    assert caught.value.code == "missing-layers"


async def test_an_offer_that_contradicts_itself_is_refused(ends, dockerd, image):
    build(dockerd, image, b"one")
    offer = await ends[0].offer(image)
    config = json.loads(offer.config)
    config["config"]["Env"] = ["EVIL=1"]
    other_config = api.ImageOffer(
        reference=offer.reference, id=offer.id, kind=offer.kind, config=json.dumps(config),
        layers=offer.layers,
    )  # fmt: skip
    with pytest.raises(AgentError) as caught:
        await ends[1].needs(other_config)
    assert caught.value.code == "corrupt"


async def test_what_nobody_goes_on_with_makes_room_for_what_is_to_come(ends, dockerd, image):
    build(dockerd, image, b"one")
    receiver = ends[1]
    receiver.staging.folder.mkdir(parents=True)
    given_up, fresh = (receiver.staging.folder / f"{digit * 64}.part" for digit in "ab")
    for path, days in ((given_up, 8), (fresh, 6)):
        path.write_bytes(b"x")
        when = time.time() - days * 86400
        os.utime(path, (when, when))
    await receiver.needs(await ends[0].offer(image))
    assert [path.exists() for path in (given_up, fresh)] == [False, True]


async def test_one_that_is_there_by_another_name_is_named(ends, dockerd, other, image):
    build(dockerd, image, b"one")
    await send(*ends, image)
    again = image.replace(":1", ":2")
    dockerd.tag(image, again)
    assert await send(*ends, again) == []
    ids = {other.request("GET", f"/images/{name}/json")["Id"] for name in (image, again)}
    assert len(ids) == 1
