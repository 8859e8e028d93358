"""Ready by SDK, TCP port or command; who isn't in time says what it waits for."""

from __future__ import annotations

import json
import sys
import time

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.netns

ONE = """
name = "readiness"
[hosts.a]
[modules.m]
runtime = "process"
host = "a"
command = ["sh", "-c", '''{script}''']
ready = {{ {ready}, within = "300ms" }}
"""
LISTEN = f"{sys.executable} -m http.server"


@pytest.mark.parametrize(
    ("script", "ready", "said"),
    [
        pytest.param(
            "exec sleep 1000", "tcp = 8000",
            "waits for TCP port 8000 to accept connections (connection refused)", id="tcp",
        ),
        pytest.param(
            "exec sleep 1000", 'command = ["sh", "-c", "echo x; echo no model yet >&2; exit 3"]',
            "to exit with 0 (exit status 3: no model yet)", id="command",
        ),
        pytest.param(
            "exec sleep 1000", 'command = ["/no/such/probe"]',
            "waits for `/no/such/probe` to exit with 0 (exit status 127", id="no-command",
        ),
        pytest.param(
            "exec sleep 1000", "sdk = true", "waits for `await mesh.ready()`", id="sdk",
        ),
    ],
)  # fmt: skip
def test_who_is_not_ready_in_time_says_what_it_waits_for(shared_otter, script, ready, said):
    otter = shared_otter
    done = otter("apply", otter.topology(ONE.format(script=script, ready=ready)), code=1)
    late = "not ready after 0.3 s: waits for "
    assert late in done.stderr
    assert said in done.stderr
    assert "m: running: not ready" in done.stderr
    status = otter.json("status")
    (module,) = status["modules"]
    assert (status["state"], module["state"], module["overdue"]) == ("degraded", "running", True)
    assert said in module["reason"]
    assert said in otter("status").stdout
    events = [json.loads(line)["text"] for line in otter("events", "--json").stdout.splitlines()]
    assert any(text.startswith(late) and said in text for text in events)


def test_while_there_is_time_status_says_what_is_in_the_way(shared_otter):
    otter = shared_otter
    text = ONE.format(script="exec sleep 1000", ready="tcp = 8000").replace("300ms", "5min")
    otter("apply", otter.topology(text), "--no-wait")
    wait_for(lambda: "(connection refused)" in otter.modules("readiness")["m"]["reason"], "never")
    assert otter.json("status")["state"] == "converging"


def test_hostile_words_of_a_probe_are_one_short_line(shared_otter):
    otter = shared_otter
    probe = (
        "head -c 3000000 /dev/zero | tr '\\\\0' x; printf '\\\\033[31m\\\\007red\\\\n\\\\n'; exit 1"
    )
    text = ONE.format(script="exec sleep 1000", ready=f'command = ["sh", "-c", "{probe}"]')
    otter("apply", otter.topology(text.replace("300ms", "1s")), code=1)
    reason = otter.modules("readiness")["m"]["reason"]
    _, _, shown = reason.partition("(exit status 1: ")
    assert shown.isprintable()
    assert len(shown) < 200


def test_late_is_better_than_never(shared_otter):
    """It is failed by apply and ready all the same once it is."""
    otter = shared_otter
    script = f"until test -e go; do sleep 0.05; done; exec {LISTEN} 8000"
    otter("apply", otter.topology(ONE.format(script=script, ready="tcp = 8000")), code=1)
    (otter.root / "a/lib/meshes/readiness/m/work/go").touch()
    otter("wait", "m", "--timeout", "30s")
    status = otter.json("status")
    assert (status["state"], status["modules"][0]["reason"]) == ("ready", "")


def test_apply_that_does_not_wait_returns_before_anything_is_ready(shared_otter):
    otter = shared_otter
    script = f"until test -e go; do sleep 0.05; done; exec {LISTEN} 8000"
    text = ONE.format(script=script, ready="tcp = 8000").replace("300ms", "5min")
    began = time.monotonic()
    done = otter("apply", otter.topology(text), "--no-wait")
    assert time.monotonic() - began < 20
    assert "handed to the agent" in done.stdout
    assert otter.json("status")["state"] == "converging"
    work = otter.root / "a/lib/meshes/readiness/m/work"
    wait_for(work.exists, "no work folder")
    (work / "go").touch()
    otter("wait", "--all", "--timeout", "30s")


SENDER = """
import asyncio, net
async def main(mesh):
    await mesh.ready()
    n = 0
    while True:
        await mesh.output("out").send(n)
        n += 1
        await asyncio.sleep(0.02)
net.run(main)
"""
RECEIVER = """
import net
async def main(mesh):
    await mesh.ready()
    async for message in mesh.input("in"):
        with open("got", "a") as file:
            file.write("x")
net.run(main)
"""
STREAM = f"""
name = "order"
[defaults.module]
runtime = "process"
[hosts.a]
[hosts.b]
[[links]]
between = ["a", "b"]
[modules.sender]
host = "a"
command = ["{sys.executable}", "-c", '''{SENDER}''']
[modules.receiver]
host = "b"
command = ["{sys.executable}", "-c", '''{RECEIVER}''']
[[streams]]
from = "sender.out"
to = "receiver.in"
"""


@pytest.mark.parametrize("first", ["sender", "receiver"])
def test_the_order_of_starts_never_matters(shared_otter, first):
    otter = shared_otter
    otter("apply", otter.topology(STREAM))
    otter("stop", "--all")
    got = otter.root / "a/lib/meshes/order/receiver/work/got"
    got.unlink(missing_ok=True)
    second = {"sender": "receiver", "receiver": "sender"}[first]
    otter("start", first)  # ready without the other
    otter("start", second)
    wait_for(lambda: got.exists() and got.stat().st_size > 3, "nothing came through")


PEERS = """
name = "peers"
[defaults.module]
runtime = "process"
host = "a"
[hosts.a]
[modules.sender]
command = ["sleep", "1000"]
ready = { sdk = true, within = "5s" }
[modules.receiver]
command = ["sh", "-c", "exit 7"]
restart = "no"
[[streams]]
from = "sender.out"
to = "receiver.in"
"""


def test_who_may_wait_for_a_peer_says_for_which(shared_otter):
    otter = shared_otter
    done = otter("apply", otter.topology(PEERS), code=1)
    words = "waits for `await mesh.ready()` (stream peer receiver is failed)"
    assert f"sender: running: not ready after 5 s: {words}" in done.stderr
    assert "receiver: failed: exited with 7" in done.stderr
