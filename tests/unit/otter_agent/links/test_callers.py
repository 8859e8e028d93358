"""What a caller asked of links who went away meanwhile comes into force, with nobody after it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.timeline_world import until

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.links.asking import resolve
from otter_agent.links.book import LinkBook
from otter_agent.links.choose import Choice
from otter_agent.links.fake import FakeLinks
from otter_agent.links.ways import Way

SPEC = api.MeshSpec(
    name="m",
    run="r",
    hosts=tuple(api.HostSpec(name=n, address="100.64.0.1", block="100.64.0.0/24") for n in "abc"),
    links=(
        api.Link(name="radio", a="a", b="b", forward=LinkSpec(delay_s=0.02)),
        api.Link(name="wire", a="b", b="c", forward=LinkSpec()),
    ),
)
BC = Way("wire", "b", "c")


class Tuns(FakeLinks):
    """As the one in user space: links need devices of its own."""

    device_kind = "tun"


@pytest.mark.parametrize(
    ("driver", "before"), [(FakeLinks, ["radio"]), (Tuns, [])], ids=["not its turn", "no devices"]
)
async def test_what_a_caller_that_goes_away_leaves_is_brought_into_force(
    driver: type[FakeLinks], before: list[str]
) -> None:
    kept: Any = SimpleNamespace(shapes=lambda mesh: {}, put_shapes=lambda mesh, shapes: None)
    book = LinkBook(Choice(driver=driver()), "id", SPEC, kept, lambda *told: None)

    def make() -> None:
        book.kinds()
        book.devices_are_there()

    async def shape(link: str, delay_s: float) -> None:
        change = api.LinkChange(link=link, set={"delay_s": delay_s})
        await book.shape(resolve([change], book.all(), "m"))

    book.remake = lambda: asyncio.to_thread(make)
    make()
    busy = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    await book.settle()  # so that the one before it has none of its in hand
    async with asyncio.TaskGroup() as group:
        running = group.create_task(book.run())
        group.create_task(asyncio.to_thread(busy.wait))
        for link in before:
            group.create_task(shape(link, 0.3))
        call = group.create_task(shape("wire", 0.1))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.sleep(0)
        busy.set()
        await until(lambda: book.outcome(BC).applied == LinkSpec(delay_s=0.1))
        running.cancel()
