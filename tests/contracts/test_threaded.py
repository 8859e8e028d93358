"""`net.run(main, thread=True)`: the transport in a thread of its own, `main` on its own loop."""

from __future__ import annotations

import asyncio
import csv
import threading
import time

import numpy as np
import pytest
from helpers.modules import mesh_of, two_wirings

from net.errors import LocalWireError, OtterError
from net.thread import LoopThread
from net.threaded import ThreadedMesh

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
async def no_leaks():
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [t.name for t in threading.enumerate() if t.name.startswith("otter")] == []


@pytest.fixture
def thread():
    with LoopThread() as one:
        yield one


@pytest.fixture
def other():
    with LoopThread("otter-other") as one:
        yield one


async def test_question_and_answer(thread, tmp_path):
    asking, answering = two_wirings()

    async def answer():
        async with ThreadedMesh(thread, mesh_of(answering, tmp_path / "b")) as mesh:
            assert (mesh.name, mesh.module, mesh.inputs) == ("test", "b", ("there",))
            async for question in mesh.input("there"):
                await mesh.output("back").send(question.value.sum(), reply_to=question)

    async with asyncio.TaskGroup() as group:
        group.create_task(answer())
        async with mesh_of(asking) as mesh:
            for count in range(5):
                sent = await mesh.output("there").send(np.ones(count))
                back = await mesh.input("back").receive()
                assert (back.value, back.reply_to) == (count, sent)
    assert (tmp_path / "b" / "ready").exists()
    with (tmp_path / "b" / "messages.csv").open(newline="") as file:
        assert [row["outcome"] for row in csv.DictReader(file)] == ["done"] * 5


async def test_a_main_that_computes_keeps_nobody_waiting(thread, other):
    """What was done is acknowledged, and what comes is received, while `main` is busy."""
    asking, answering = two_wirings(queue=4)
    mine, theirs = mesh_of(answering), mesh_of(asking)
    async with ThreadedMesh(thread, mine) as busy, ThreadedMesh(other, theirs) as peer:
        await peer.output("there").send("first")
        message = await busy.input("there").receive()
        busy.input("there").by_hand = True
        message.done()

        async def others() -> int:
            output = theirs.output("there")
            for number in range(4):
                await output.send(number)
            while (waiting := theirs.stats()["outputs"][0]["waiting"]) > 4:
                await asyncio.sleep(0.001)  # acknowledgements come; nobody is told of each
            return waiting

        assert other.wait(others) == 4  # blocks this test's loop, which is main's
        deadline = time.monotonic() + 10
        while busy.stats()["inputs"][0]["waiting"] < 4:  # so does this
            assert time.monotonic() < deadline
        for number in range(4):
            got = await busy.input("there").receive()
            assert got.value == number
            got.done()


async def test_a_full_queue_holds_the_sender_back(thread):
    """Nothing is taken from an input before it is asked for."""
    asking, answering = two_wirings(queue=2)
    big, sent = np.zeros(2**19), []

    async def send(mesh):
        async with asyncio.timeout(0.5):
            for number in range(100):
                await mesh.output("there").send(big)
                sent.append(number)

    async with mesh_of(asking) as mesh, ThreadedMesh(thread, mesh_of(answering)) as slow:
        await slow.ready()
        with pytest.raises(TimeoutError):
            await send(mesh)
        assert len(sent) < 20
        for _ in sent:
            await slow.input("there").receive()


async def test_a_cancelled_receive_loses_nothing(thread):
    asking, answering = two_wirings()
    async with ThreadedMesh(thread, mesh_of(answering)) as mesh, mesh_of(asking) as peer:

        async def send():
            for number in range(300):
                await peer.output("there").send(number)

        got = []
        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            while len(got) < 300:
                try:
                    async with asyncio.timeout(0.0003):
                        got.append((await mesh.input("there").receive()).value)
                except TimeoutError:
                    pass
        assert got == list(range(300))


async def test_what_is_there_is_taken_without_waiting_in_the_transports_thread(thread):
    asking, answering = two_wirings()
    async with ThreadedMesh(thread, mesh_of(answering)) as mesh, mesh_of(asking) as peer:
        inbox = mesh.input("there")
        assert inbox.receive_now() is None
        taken_in = []
        take_now = inbox._inbox.take_now
        inbox._inbox.take_now = lambda: taken_in.append(threading.current_thread()) or take_now()
        await peer.output("there").send("x")
        async with asyncio.timeout(10):
            while (message := inbox.receive_now()) is None:
                await asyncio.sleep(0)  # it is asked again and again: that is what is tried
        assert message.value == "x"
        assert set(taken_in) == {thread._thread}


async def test_errors_come_out_where_they_were_asked_for(thread):
    asking, _ = two_wirings()
    async with ThreadedMesh(thread, mesh_of(asking)) as mesh:
        with pytest.raises(LocalWireError, match=r"value\['a'\]"):
            await mesh.output("there").send({"a": object()})
        with pytest.raises(OtterError, match="its inputs are: back"):
            mesh.input("nonsense")
        assert mesh.stats()["outputs"][0]["messages"] == 0


async def test_what_came_as_its_taker_was_cancelled_is_left_to_the_next_life(thread, other):
    """The module ends in order, and has never seen it."""
    asking, answering = two_wirings()
    async with ThreadedMesh(other, mesh_of(asking)) as peer:
        async with ThreadedMesh(thread, mesh_of(answering)) as mesh:
            port = mesh.input("there")

            async def taken():
                while port._real._current is None:
                    await asyncio.sleep(0)  # our own loop, which would be told, stands still

            async with asyncio.TaskGroup() as group:
                taking = group.create_task(port.receive())
                await asyncio.sleep(0)  # one turn of the loop: it has asked
                other.wait(lambda: peer._real.output("there").send("x"))  # our loop stands still
                thread.wait(taken)
                taking.cancel()
            assert taking.cancelled()
        async with ThreadedMesh(thread, mesh_of(answering)) as mesh_again, asyncio.timeout(10):
            assert (await mesh_again.input("there").receive()).value == "x"


async def test_an_error_in_main_leaves_its_message_to_its_next_life(thread):
    asking, answering = two_wirings()
    got = []

    async def main():
        async with ThreadedMesh(thread, mesh_of(answering)) as mesh:
            got.append((await mesh.input("there").receive()).value)
            _ = 1 / 0

    async with mesh_of(asking) as mesh, asyncio.TaskGroup() as group:
        group.create_task(mesh.output("there").send("again"))
        with pytest.raises(ZeroDivisionError):
            await main()
        async with ThreadedMesh(thread, mesh_of(answering)) as mesh_again:
            got.append((await mesh_again.input("there").receive()).value)
    assert got == ["again", "again"]


async def test_a_port_that_is_taken_is_an_error_at_the_start(thread):
    _, answering = two_wirings()
    async with mesh_of(answering):
        with pytest.raises(OtterError, match="can't listen"):
            async with ThreadedMesh(thread, mesh_of(answering)):
                pass
