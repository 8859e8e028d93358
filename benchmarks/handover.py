"""How long nothing passes when a host moves to another cell: asked is the `gap`, ± 2 ms.

A module on the host sends a packet each 0.5 ms to one behind both cells while the host moves to
and fro every 200 ms. When nothing passes any more is known to lie between the sending of a packet
that came and that of the next, which didn't; when something does again, in the same way. Where the
sender was held up around either, so that they lie more than 2 ms apart, that one is left out.
"""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Iterator
from itertools import pairwise

from benchmarks.mesh import agent, run
from benchmarks.row import NotHere, Row

GAP_S = 0.04
NEAR_S = 0.002
EACH_S = 0.2
COUNT = 60
STEP_S = 0.0005

MESH = f"""
name = "mobile"
[defaults.module]
runtime = "process"
[hosts.phone]
[hosts.tablet]
[hosts.mast]
count = 2
[hosts.core]
[[links]]
between = ["mast-*", "core"]
[cells.one]
host = "mast-1"
members = ["phone"]
uplink = "20mbit"
downlink = "20mbit"
delay = "5ms"
[cells.two]
host = "mast-2"
members = ["tablet"]
uplink = "20mbit"
downlink = "20mbit"
delay = "5ms"
[[events]]
at = "{EACH_S}s"
host = "phone"
attach = {{ cell = "two", gap = "{GAP_S}s" }}
every = "{2 * EACH_S}s"
[[events]]
at = "{2 * EACH_S}s"
host = "phone"
attach = {{ cell = "one", gap = "{GAP_S}s" }}
every = "{2 * EACH_S}s"
[modules.caller]
host = "phone"
command = ["sleep", "1000000"]
[modules.called]
host = "core"
command = ["sleep", "1000000"]
"""
RECEIVE = """
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
s.bind(("0.0.0.0", 9000))
print("bound", flush=True)
found = []
while True:
    try:
        found.append(struct.unpack("d", s.recv(100))[0])
    except TimeoutError:
        break
    s.settimeout(2)
print("\\n".join(map(repr, found)))
"""
SEND = f"""
import socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("called", 9000))
sent = []
start = following = time.monotonic()
while following < start + {COUNT * EACH_S}:
    while (now := time.monotonic()) < following:
        time.sleep(following - now)
    try:
        s.send(struct.pack("d", now))
    except OSError:
        pass  # nobody was there at the end of the one before
    sent.append((now, time.monotonic()))
    following = max(following, now - {STEP_S}) + {STEP_S}
print("\\n".join(f"{{a!r}} {{b!r}}" for a, b in sent))
"""


def rows() -> list[Row]:
    """The outages of 60 handovers."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    with agent() as (otterctl, folder):
        (folder / "mesh.toml").write_text(MESH)
        run(otterctl, "apply", str(folder / "mesh.toml"))
        inside = [*otterctl, "exec"]
        with subprocess.Popen(
            [*inside, "called", "--", "python3", "-c", RECEIVE], stdout=subprocess.PIPE, text=True
        ) as receiver:
            assert receiver.stdout is not None
            assert receiver.stdout.readline() == "bound\n"
            sent = subprocess.run(
                [*inside, "caller", "--", "python3", "-c", SEND],
                stdout=subprocess.PIPE, text=True, check=True,
            ).stdout  # fmt: skip
            came = receiver.stdout.read()
    times = [(float(a), float(b)) for a, b in map(str.split, sent.splitlines())]
    all_found = list(outages(times, {float(line) for line in came.splitlines()}))
    found = [lasted for lasted, sure in all_found if sure]
    near = sum(abs(one - GAP_S) <= NEAR_S for one in found) / len(found)
    note = f"{min(found):.4f} to {max(found):.4f} s; {len(all_found) - len(found)} left out"
    return [
        Row(
            name="handover with a gap of 40 ms: outage, median", unit="s", better="lower",
            ours=statistics.median(found), peers={}, limit=GAP_S, goal=GAP_S + NEAR_S,
            n=len(found), note=note,
        ),
        Row(
            name="… share within 2 ms of it", unit="1", better="higher", ours=near, peers={},
            limit=1.0, goal=0.99, n=len(found), note=note,
        ),
    ]  # fmt: skip


def outages(sent: list[tuple[float, float]], came: set[float]) -> Iterator[tuple[float, bool]]:
    """How long each was, to the middle of what is known, and whether that is known well enough.

    Args:
        sent: Before and after the sending of each packet.
        came: Of those that came, the first.
    """
    begun: tuple[float, float] | None = None
    for (before, _), (following, after) in pairwise(sent):
        if before in came and following not in came:
            begun = before, after
        elif begun is not None and before not in came and following in came:
            lasted = (before + after) / 2 - sum(begun) / 2
            yield lasted, max(after - before, begun[1] - begun[0]) <= NEAR_S
            begun = None
