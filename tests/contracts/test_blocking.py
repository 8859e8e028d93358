"""`net.blocking`: streams without `async`."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np
import pytest
from helpers.modules import FAST, HERE, two_wirings

import net

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def no_threads():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("otter")] == []


def test_a_stream_both_ends():
    with net.blocking.listen(HERE, 0, ["y"], timing=FAST) as listener:
        with net.blocking.connect(HERE, listener.port, input="y", sender="a", timing=FAST) as out:
            ids = [out.send(np.full(3, number)) for number in range(3)]
            messages = [listener.inputs["y"].receive(within_s=10) for _ in ids]
        assert [m.value.tolist() for m in messages] == [[n] * 3 for n in range(3)]
        assert [m.id for m in messages] == ids
        assert [m.source for m in messages] == ["a"] * 3
        assert list(listener.inputs["y"]) == []  # it has ended
        with pytest.raises(net.ConnectionClosed):
            listener.inputs["y"].receive()


def test_waiting_has_an_end():
    with net.blocking.listen(HERE, 0, ["y"], timing=FAST) as listener:
        with pytest.raises(TimeoutError):
            listener.inputs["y"].receive(within_s=0.01)
        with net.blocking.connect(HERE, listener.port, input="y", sender="a", timing=FAST) as out:
            out.send("late")
            assert listener.inputs["y"].receive(within_s=10).value == "late"


def test_what_came_at_the_moment_of_a_ctrl_c_is_not_done_with_if_nobody_took_it():
    with net.blocking.listen(HERE, 0, ["y"], timing=FAST) as listener:
        port, inbox = listener.port, listener.inputs["y"]
        out = net.blocking.connect(HERE, port, input="y", sender="a", timing=FAST).__enter__()
        out.send("x")

        async def come():
            inbox._arrived(await inbox._take())

        inbox._thread.wait(come)  # what an interrupted `receive` leaves
    with net.blocking.listen(HERE, port, ["y"], timing=FAST) as listener:
        assert listener.inputs["y"].receive(within_s=10).value == "x"
        out.__exit__(None, None, None)


def test_a_message_may_be_done_with_after_the_end():
    with net.blocking.listen(HERE, 0, ["y"], timing=FAST) as listener:
        listener.inputs["y"].by_hand = True
        port = listener.port
        with net.blocking.connect(HERE, port, input="y", sender="a", timing=FAST) as out:
            out.send("x")
            message = listener.inputs["y"].receive(within_s=10)
    message.done()  # nobody hears of it


def test_flush_waits_for_what_is_done_by_hand():
    with net.blocking.listen(HERE, 0, ["y"], timing=FAST) as listener:
        inbox = listener.inputs["y"]
        inbox.by_hand = True
        with net.blocking.connect(HERE, listener.port, input="y", sender="a", timing=FAST) as out:
            out.send("x")
            inbox.receive().done()
            out.flush()


def test_errors_come_out_here():
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        taken.listen()
        with pytest.raises(net.TransportError, match="can't listen"):
            net.blocking.listen(HERE, taken.getsockname()[1], ["y"]).__enter__()
    with (
        net.blocking.listen(HERE, 0, ["y"], timing=FAST) as listener,
        net.blocking.connect(HERE, listener.port, input="y", sender="a", timing=FAST) as out,
        pytest.raises(net.LocalWireError, match="can't be sent"),
    ):
        out.send(object())


# --- as modules ----------------------------------------------------------------------------------


def start(tmp_path, wiring, code):
    """A script as the agent starts it."""
    folder = tmp_path / wiring.module
    folder.mkdir()
    (folder / "wiring.json").write_bytes(msgspec.json.encode(asdict(wiring)))
    (folder / "module.py").write_text(code)
    env = {**os.environ, "OTTER_WIRING": str(folder / "wiring.json"), "OTTER_STATE": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-u", folder / "module.py"], env=env, text=True, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def example():
    """The script that docs/modules.md shows."""
    text = (ROOT / "docs" / "modules.md").read_text()
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", text, re.S) if "blocking.mesh" in c]
    return code


ASKS = """
import net
with net.blocking.mesh() as mesh:
    for number in range(3):
        sent = mesh.output("there").send({"image": [number] * 3})
        answer = mesh.input("back").receive(within_s=20)
        print(answer.value, answer.reply_to == sent)
    print(mesh.stats()["outputs"][0]["messages"])
"""


def test_the_example_of_the_docs_works(tmp_path):
    asking, answering = two_wirings()
    code = example().replace('"question"', '"there"').replace('"answer"', '"back"')
    answers = start(tmp_path, answering, code)
    asks = start(tmp_path, asking, ASKS)
    out, err = asks.communicate(timeout=40)
    assert (asks.returncode, err) == (0, "")
    assert out == "3 True\n3 True\n3 True\n3\n"
    answers.communicate(timeout=20)  # its input has ended
    assert answers.returncode == 0
    assert (tmp_path / "b" / "ready").exists()
    assert len((tmp_path / "b" / "messages.csv").read_text().splitlines()) == 4


WAITS = """
import net
with net.blocking.mesh() as mesh:
    mesh.ready()
    try:
        print("up")
        mesh.input("back").receive()
    finally:
        print("tidied up")
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -2)])
def test_signals_end_what_blocks(tmp_path, number, code):
    asking, _ = two_wirings()
    process = start(tmp_path, asking, WAITS)
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert out == "tidied up\n"
    assert process.returncode == code
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)  # as of any script


INTERRUPTED = """
import net, sys
with net.blocking.listen("127.0.0.1", 0, ["y"]) as listener:
    with net.blocking.connect("127.0.0.1", listener.port, input="y", sender="a") as out:
        for number in range(20):
            try:
                print("waiting")
                listener.inputs["y"].receive()
            except KeyboardInterrupt:
                out.send(number)
                print(listener.inputs["y"].receive(within_s=20).value)
"""


def test_a_receive_that_ctrl_c_interrupts_loses_nothing():
    command = [sys.executable, "-u", "-c", INTERRUPTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for number in range(20):
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(signal.SIGINT)  # before it waits, or while it does
            assert process.stdout.readline() == f"{number}\n"
        assert process.wait(20) == 0
