"""Zenoh: two peers joined by one TCP connection, without a router, blocking.

It blocks rather than drops, and sends small messages at once (`express`) where they are waited
for. Its shared memory is off: it would take the arrays off TCP unasked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zenoh

from benchmarks.transport.forms import from_bytes, to_bytes
from benchmarks.transport.peer import HERE, Channel, Place


@contextmanager
def listen(place: Place) -> Iterator[Channel]:
    """Takes `there`, answers to `back`."""
    with _session("listen", place) as session:
        yield _channel(session, place, send="back", receive="there")


@contextmanager
def dial(place: Place) -> Iterator[Channel]:
    """Sends to `there`, hears `back`."""
    with _session("connect", place) as session:
        yield _channel(session, place, send="there", receive="back")


def _session(what: str, place: Place) -> Any:
    config = zenoh.Config()
    settings = {
        "mode": "peer",
        f"{what}/endpoints": [f"tcp/{HERE}:{place.ports[0]}"],
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "transport/shared_memory/enabled": False,
    }
    if what == "connect":
        settings |= {"connect/timeout_ms": 20_000, "connect/retry": {"period_init_ms": 50}}
    else:
        settings["connect/endpoints"] = []
    for key, value in settings.items():
        config.insert_json5(key, json.dumps(value))
    return zenoh.open(config)


def _channel(session: Any, place: Place, *, send: str, receive: str) -> Channel:
    """Both ways are joined before it is given: what is put before that is lost."""
    echo = place.task.pattern == "echo"
    subscriber = session.declare_subscriber(f"otter/{receive}")
    publisher = session.declare_publisher(
        f"otter/{send}", congestion_control=zenoh.CongestionControl.BLOCK, express=echo
    )
    while (echo or send == "there") and not publisher.matching_status.matching:
        time.sleep(0.01)
    make, unmake = from_bytes(place.task), to_bytes(place.task)
    return Channel(
        send=lambda value: publisher.put(unmake(value)),
        receive=lambda: make(subscriber.recv().payload.to_bytes()),
    )
