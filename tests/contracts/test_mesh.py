"""The module SDK: two meshes over loopback, and `net.run` as the agent starts it."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers.modules import free_ports

import net
from net.stream import Timing
from net.wiring import StreamEnd, Wiring

HERE = "127.0.0.1"
FAST = Timing(first_retry_s=0.005, longest_retry_s=0.02, close_s=0.2)


pytestmark = pytest.mark.timeout(30)


@pytest.fixture(autouse=True)
async def no_leaks():
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}


def end(name, port_name, peer, port, queue=4, source=HERE):
    return StreamEnd(name, port_name, peer, HERE, port, queue=queue, source_address=source)


def wiring(module, inputs=(), outputs=()):
    return Wiring("test", module, f"host-of-{module}", HERE, tuple(inputs), tuple(outputs))


@pytest.fixture
def pair(tmp_path):
    """`asker` and `answerer`, wired to each other, each with a state folder."""
    ports = free_ports(2)
    there, back = "asker.question>answerer.question", "answerer.answer>asker.answer"
    question = [end(there, "question", "answerer", ports[0])]
    answer = [end(back, "answer", "asker", ports[1])]
    meshes = []
    for module, inputs, outputs in (("asker", answer, question), ("answerer", question, answer)):
        state = tmp_path / module
        state.mkdir()
        meshes.append(net.Mesh(wiring(module, inputs, outputs), state=state, timing=FAST))
    return meshes


def records(tmp_path, module):
    with (tmp_path / module / "messages.csv").open(newline="") as file:
        return list(csv.DictReader(file))


async def test_question_and_answer(pair, tmp_path):
    asker, answerer = pair
    answers = []

    async def ask():
        async with asker as mesh:
            for number in range(3):
                sent = await mesh.output("question").send({"n": number, "image": np.ones(9)})
                answer = await mesh.input("answer").receive()
                assert answer.reply_to == sent
                assert answer.source == "answerer"
                answers.append(answer.value)

    async def answer():
        async with answerer as mesh:
            assert (mesh.name, mesh.module, mesh.host) == ("test", "answerer", "host-of-answerer")
            async for question in mesh.input("question"):
                value = question.value["n"] + question.value["image"].sum()
                await mesh.output("answer").send(value, reply_to=question)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())
        group.create_task(answer())
    assert answers == [9.0, 10.0, 11.0]
    for module, count in (("asker", 3), ("answerer", 3)):
        assert (tmp_path / module / "ready").exists()
        lines = records(tmp_path, module)
        assert len(lines) == count
        for line in lines:
            moments = ("made", "queued", "sent", "received", "taken", "done")
            times = [float(line[key]) for key in moments]
            assert times == sorted(times)
            assert (line["outcome"], float(line["clock_error_s"])) == ("done", 0)
    assert (lines[0]["from"], lines[0]["to"]) == ("asker", "answerer")
    assert lines[0]["stream"] == "asker.question>answerer.question"
    assert int(lines[0]["bytes"]) > 72
    assert [line["reply_to"] for line in records(tmp_path, "asker")] == [x["id"] for x in lines]


async def test_ready_is_said_by_hand_or_by_the_first_use(pair, tmp_path):
    asker, answerer = pair
    async with asker, answerer:
        assert not (tmp_path / "asker" / "ready").exists()
        await asker.ready()
        await asker.ready()
        assert (tmp_path / "asker" / "ready").exists()
        assert not (tmp_path / "answerer" / "ready").exists()
        await answerer.output("answer").send("x")
        assert (tmp_path / "answerer" / "ready").exists()
        assert (await asker.input("answer").receive()).value == "x"


async def test_unknown_names_list_the_known(pair):
    asker = pair[0]
    assert asker.inputs == ("answer",)
    assert asker.outputs == ("question",)
    with pytest.raises(net.OtterError, match=r"asker: .* input 'nonsense'; its inputs are: answer"):
        asker.input("nonsense")
    with pytest.raises(net.OtterError, match=r"output 'answer'; its outputs are: question"):
        asker.output("answer")


async def test_an_output_fans_out_and_an_input_fans_in():
    ports = free_ports(2)
    streams = ["a.x>b.y", "a.x>c.y"]
    outputs = [end(s, "x", s[4], p) for s, p in zip(streams, ports, strict=True)]
    source = wiring("a", outputs=outputs)
    got = {}

    async def receive(module, name, port):
        async with net.Mesh(wiring(module, [end(name, "y", "a", port)]), timing=FAST) as mesh:
            got[module] = [(m.id, m.value) async for m in mesh.input("y")]

    async with asyncio.TaskGroup() as group:
        for module, name, port in zip("bc", streams, ports, strict=True):
            group.create_task(receive(module, name, port))
        async with net.Mesh(source, timing=FAST) as mesh:
            for number in range(20):
                await mesh.output("x").send(number)
    assert got["b"] == got["c"]
    assert [value for _, value in got["b"]] == list(range(20))


async def test_a_module_cannot_send_in_the_name_of_another():
    """The wiring says where a stream comes from; here the receiver was told another address."""
    name, (port,) = "a.x>b.y", free_ports(1)
    target = wiring("b", [end(name, "y", "a", port, source="127.0.0.2")])
    source = wiring("a", outputs=[end(name, "x", "b", port)])
    async with net.Mesh(target, timing=FAST) as receiver:
        async with net.Mesh(source, timing=FAST) as intruder:
            with pytest.raises(net.StreamRefused, match=f"doesn't come from {HERE}"):
                await intruder.output("x").send("forged")
        with pytest.raises(TimeoutError):  # nothing has come, and it hasn't ended
            async with asyncio.timeout(0.05):
                await receiver.input("y").receive()


async def test_a_mesh_has_its_own_patience_with_strangers():
    (port,) = free_ports(1)
    timing = Timing(hello_s=0.05)
    async with net.Mesh(wiring("b", [end("a.x>b.y", "y", "a", port)]), timing=timing):
        reader, writer = await asyncio.open_connection(HERE, port)
        assert await reader.read(1) == b""
        writer.close()
        await writer.wait_closed()


async def test_what_is_sent_before_main_returns_arrives(pair):
    asker, answerer = pair
    async with asyncio.TaskGroup() as group:

        async def receive():
            async with answerer as mesh:
                return [m.value async for m in mesh.input("question")]

        receiving = group.create_task(receive())
        async with asker as mesh:
            for number in range(50):
                await mesh.output("question").send(number)
    assert receiving.result() == list(range(50))


async def test_leaving_holds_up_nobody_who_still_sends(pair):
    """Both ways are full; the asker leaves; the answerer must get through to its end."""
    asker, answerer = pair
    big = np.zeros(2**20)

    async def answer():
        async with answerer as mesh:
            for _ in range(10):
                await mesh.output("answer").send(big)
            return len([m async for m in mesh.input("question")])

    async with asyncio.TaskGroup() as group:
        answering = group.create_task(answer())
        async with asker as mesh:
            for _ in range(6):
                await mesh.output("question").send("?")
    assert answering.result() == 6


async def test_an_absent_receiver_is_said_and_not_waited_for_for_ever(pair, capsys):
    async with pair[0]:
        pass
    assert "its receiver isn't there" in capsys.readouterr().err


async def test_an_error_in_main_reaches_its_author_as_it_is(pair):
    with pytest.raises(ZeroDivisionError):
        async with pair[0]:
            _ = 1 / 0


async def test_a_value_that_cannot_be_sent_names_its_place(pair):
    async with pair[0] as mesh, pair[1]:
        with pytest.raises(net.LocalWireError, match=r"value\['a'\]"):
            await mesh.output("question").send({"a": object()})


# --- net.run ------------------------------------------------------------


def start(tmp_path, body, *, wired=True, run="net.run(main)"):
    """A module process as the agent starts it, on the kind of loop that the test runs on."""
    script = tmp_path / "module.py"
    script.write_text(f"import asyncio, net\nasync def main(mesh):\n    {body}\n{run}\n")
    env = {k: v for k, v in os.environ.items() if not k.startswith("OTTER_")}
    on_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    env["OTTER_UVLOOP"] = "1" if on_uvloop else "0"
    if wired:
        path = tmp_path / "wiring.json"
        path.write_text(
            json.dumps({"mesh": "m", "module": "lone", "host": "h", "address": HERE,
                        "inputs": [], "outputs": []})
        )  # fmt: skip
        env |= {
            "OTTER_WIRING": str(path),
            "OTTER_STATE": str(tmp_path),
            "OTTER_WORK": str(tmp_path),
        }
        env |= {"OTTER_MODELS": str(tmp_path / "models")}
    return subprocess.Popen(
        [sys.executable, str(script)], env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


async def finish(process):
    out, err = await asyncio.to_thread(process.communicate, timeout=20)
    return process.returncode, out, err


RUNS = ["net.run(main)", "net.run(main, thread=True)"]


@pytest.mark.parametrize("run", RUNS)
async def test_run_gives_main_its_mesh(tmp_path, run):
    body = "print(mesh.name, mesh.module, mesh.host, mesh.work, mesh.models); await mesh.ready()"
    code, out, err = await finish(start(tmp_path, body, run=run))
    assert (code, err) == (0, "")
    assert out == f"m lone h {tmp_path} {tmp_path / 'models'}\n"
    assert (tmp_path / "ready").exists()


async def test_run_says_on_which_kind_of_loop(tmp_path):
    body = "print(type(asyncio.get_running_loop()).__module__)"
    _, out, _ = await finish(start(tmp_path, body))
    wanted = "uvloop" if "uvloop" in type(asyncio.get_running_loop()).__module__ else "asyncio"
    assert out.startswith(wanted)


@pytest.mark.parametrize("run", [*RUNS, "with net.blocking.mesh(): pass"])
async def test_run_outside_of_otter_is_one_clear_line(tmp_path, run):
    code, out, err = await finish(start(tmp_path, "pass", wired=False, run=run))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "wasn't started by OTTER" in err


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_signals_cancel_main(tmp_path, number, code, run):
    body = (
        "print('up')\n    try:\n        await asyncio.Event().wait()\n"
        "    finally:\n        print('tidied up')"
    )
    process = start(tmp_path, body, run=run)
    assert await asyncio.to_thread(process.stdout.readline) == "up\n"
    process.send_signal(number)
    assert await finish(process) == (code, "tidied up\n", "")


@pytest.mark.parametrize("run", RUNS)
async def test_an_error_in_main_fails_the_process_with_its_traceback(tmp_path, run):
    code, _, err = await finish(start(tmp_path, "1 / 0", run=run))
    assert code == 1
    assert err.rstrip().endswith("ZeroDivisionError: division by zero")
    assert "ExceptionGroup" not in err


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_module_does_not_see_what_carries_its_streams(tmp_path, transport):
    """Question and answer, both ways; what goes with the transport is the wiring's alone."""
    ports = free_ports(2, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
    there, back = (
        StreamEnd(name, port_name, peer, HERE, port, transport, source_address=HERE)
        for name, port_name, peer, port in (
            ("asker.question>answerer.question", "question", "answerer", ports[0]),
            ("answerer.answer>asker.answer", "answer", "asker", ports[1]),
        )
    )
    async with (
        net.Mesh(wiring("asker", [back], [there]), timing=FAST) as asker,
        net.Mesh(wiring("answerer", [there], [back]), timing=FAST) as answerer,
    ):
        for i in range(5):
            question = np.full((200, 300), i)
            sent = await asker.output("question").send(question)
            received = await answerer.input("question").receive()
            assert (received.value == question).all()
            await answerer.output("answer").send(
                {"sum": int(received.value.sum())}, reply_to=received
            )
            answer = await asker.input("answer").receive()
            assert (answer.value, answer.reply_to) == ({"sum": 60_000 * i}, sent)
            assert (answer.source, answer.stream) == ("answerer", back.stream)


async def test_messages_at_work_together_are_recorded_when_each_is_done(pair, tmp_path):
    """Taking the next one doesn't say that the former is done with, if that is said by hand."""
    clock = iter(range(100, 10_000))
    asker, answerer = pair
    async with asker, answerer:
        answerer.clock = lambda: next(clock)
        for number in range(4):
            await asker.output("question").send(number)
        question = answerer.input("question")
        question.by_hand = True
        first, second, third = [await question.receive() for _ in range(3)]
        second.done()
        await answerer.output("answer").send("a", reply_to=first)
        first.done()
        fourth = await question.receive()
        third.done()
        fourth.done()
        asker.input("answer").by_hand = True
        (await asker.input("answer").receive()).done()
    lines = {int(line["id"].rpartition(":")[2]): line for line in records(tmp_path, "answerer")}
    done = {number: float(line["done"]) for number, line in lines.items()}
    assert set(lines) == {1, 2, 3, 4}
    assert {line["outcome"] for line in lines.values()} == {"done"}
    assert done[1] < done[2] <= done[3] <= done[4]


@pytest.mark.parametrize("by_hand", [False, True])
async def test_tasks_that_share_an_input_have_all_they_took_recorded(pair, tmp_path, by_hand):
    """Each waits before the one before it has its message."""
    asker, answerer = pair
    async with asker, answerer:
        question = answerer.input("question")
        question.by_hand = by_hand
        taken = []
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question.receive()) for _ in range(3)]
            await asyncio.sleep(0)  # one turn of the loop: all of them wait
            for number, task in enumerate(tasks):
                await asker.output("question").send(number)
                taken.append(await task)
        for message in taken[: 2 if by_hand else 0]:
            message.done()
    outcomes = [line["outcome"] for line in records(tmp_path, "answerer")]
    assert sorted(outcomes) == ["done", "done", "failed" if by_hand else "done"]
