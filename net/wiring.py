"""The wiring file: which streams a module has, as the agent wrote it. Pure.

The schema is `otter_agent.api.Wiring`; read here without its library, so that a module image needs
numpy only. Keys that this version doesn't know are left alone: the agent may be newer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from net.delivery import DELIVERIES, POLICIES
from net.errors import OtterError

TRANSPORTS = ("tcp", "udp", "shm")
"""That this version of the SDK has."""


class WiringError(OtterError):
    """The wiring file is missing or makes no sense."""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """One stream as one of its modules sees it.

    Attributes:
        stream: Its name, `asr.text>vqa.question`.
        port_name: This module's own input or output: `question`.
        peer: Name of the module at the other end.
        address: IPv4 address of the receiving module.
        port: TCP or UDP port at which the receiving module listens.
        transport: `tcp`, `udp`, or `shm` between modules of one host.
        queue: Messages that may wait at the receiver.
        policy: `block`, `drop-oldest` or `latest`: what happens when they do.
        delivery: `at-most-once`, `at-least-once` or `exactly-once`.
        deadline_s: Seconds after which nobody wants a message; 0: never.
        fec_ratio: Parity that udp sends along, as a share of the data.
        partial: Whether udp delivers messages of which something is lost.
        rate_bps: Bit/s at which udp sends; 0: what the path carries.
        source_address: IPv4 address of the sending module, the only one that the stream may come
            from; empty (an older agent): it isn't checked.
        copy: With shm: whether arrays are copied out of the shared memory.
        path: With shm: the receiver's socket.
    """

    stream: str
    port_name: str
    peer: str
    address: str
    port: int
    transport: str = "tcp"
    queue: int = 16
    policy: str = "block"
    source_address: str = ""
    delivery: str = "at-least-once"
    deadline_s: float = 0.0
    copy: bool = False
    path: str = ""
    fec_ratio: float = 0.0
    partial: bool = False
    rate_bps: float = 0.0

    @property
    def receiver_input(self) -> str:
        """The receiving module's name of it: `question`, from `asr.text>vqa.question`."""
        return self.stream.rpartition(">")[2].rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a module is told of its surroundings."""

    mesh: str
    module: str
    host: str
    address: str
    inputs: tuple[StreamEnd, ...] = ()
    outputs: tuple[StreamEnd, ...] = ()


def read_wiring(text: str | bytes) -> Wiring:
    """Check and read the content of a wiring file.

    Raises:
        WiringError: It isn't one.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise WiringError(f"the wiring file is no JSON: {exc}") from exc
    fields = _object(data, "the file")
    return Wiring(
        **{key: _get(fields, key, str) for key in ("mesh", "module", "host", "address")},
        inputs=_ends(fields, "inputs"),
        outputs=_ends(fields, "outputs"),
    )


def _ends(fields: dict[str, Any], key: str) -> tuple[StreamEnd, ...]:
    listed = fields.get(key, [])
    if not isinstance(listed, list):
        raise WiringError(f"the wiring file's {key!r} is no list")
    return tuple(_end(_object(item, key)) for item in listed)


def _end(fields: dict[str, Any]) -> StreamEnd:
    end = StreamEnd(
        **{key: _get(fields, key, str) for key in ("stream", "port_name", "peer", "address")},
        port=_get(fields, "port", int),
        transport=_get(fields, "transport", str, "tcp"),
        queue=_get(fields, "queue", int, 16),
        policy=_get(fields, "policy", str, "block"),
        source_address=_get(fields, "source_address", str, ""),
        delivery=_get(fields, "delivery", str, "at-least-once"),
        deadline_s=float(_get(fields, "deadline_s", (int, float), 0.0)),
        copy=_get(fields, "copy", bool, False),
        path=_get(fields, "path", str, ""),
        fec_ratio=float(_get(fields, "fec_ratio", (int, float), 0.0)),
        partial=_get(fields, "partial", bool, False),
        rate_bps=float(_get(fields, "rate_bps", (int, float), 0.0)),
    )
    for value, known in (
        (end.transport, TRANSPORTS), (end.policy, POLICIES), (end.delivery, DELIVERIES)
    ):  # fmt: skip
        if value not in known:
            raise WiringError(
                f"stream {end.stream!r} asks for {value}, which this version of the SDK "
                "doesn't have",
                hint="rebuild the module's image",
            )
    if end.transport == "shm" and not end.path.startswith("/"):
        raise WiringError(f"stream {end.stream!r} has no socket", hint="the agent is too old")
    if not 0 < end.port < 65536 or end.queue < 1:
        raise WiringError(f"stream {end.stream!r} has port {end.port} and queue {end.queue}")
    return end


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WiringError(f"the wiring file's {where!r} is no JSON object")
    return value


def _get(
    fields: dict[str, Any], key: str, kind: type | tuple[type, ...], default: Any = None
) -> Any:
    value = fields.get(key, default)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds:
        raise WiringError(f"the wiring file lacks {key!r}, or it is no {kinds[0].__name__}")
    return value
