"""The wiring file: what the agent writes is what the SDK reads."""

from __future__ import annotations

import json

import pytest

from net.wiring import StreamEnd, WiringError, read_wiring
from otter_agent import api

END = {"stream": "asr.text>vqa.question", "port_name": "question", "peer": "asr",
       "address": "100.64.0.2", "port": 7000}  # fmt: skip
GOOD = {"mesh": "m", "module": "vqa", "host": "edge", "address": "100.64.0.2", "inputs": [END]}


def test_reads_what_the_agent_writes():
    wiring = api.Wiring(
        mesh="m", module="vqa", host="edge", address="100.64.0.2",
        inputs=(api.StreamEnd(**END, queue=3, source_address="100.64.0.9"),),
    )  # fmt: skip
    read = read_wiring(api.encode(wiring)).inputs
    assert read == (StreamEnd(**END, queue=3, source_address="100.64.0.9"),)


def test_an_older_agent_does_not_say_where_a_stream_comes_from():
    assert read_wiring(json.dumps(GOOD)).inputs[0].source_address == ""


def test_the_schemas_agree():
    wiring = type(read_wiring(json.dumps(GOOD)))
    for ours, theirs in ((StreamEnd, api.StreamEnd), (wiring, api.Wiring)):
        assert list(ours.__dataclass_fields__) == list(theirs.__struct_fields__)


def test_fields_of_a_newer_agent_are_left_alone():
    assert read_wiring(json.dumps(GOOD | {"epoch": 1, "inputs": [END | {"colour": "red"}]}))


@pytest.mark.parametrize(
    "bad",
    [
        "", "[]", "[" * 100_000, b"\xff", {}, GOOD | {"mesh": 1},
        GOOD | {"inputs": {}}, GOOD | {"inputs": [1]},
        GOOD | {"inputs": [END | {"port": "7"}]}, GOOD | {"inputs": [END | {"port": 0}]},
        GOOD | {"inputs": [END | {"queue": 0}]}, GOOD | {"inputs": [END | {"transport": "pigeon"}]},
        GOOD | {"inputs": [END | {"source_address": None}]},
        GOOD | {"inputs": [END | {"delivery": "perhaps"}]},
        GOOD | {"inputs": [END | {"policy": "newest"}]},
        GOOD | {"inputs": [END | {"deadline_s": "1"}]},
        GOOD | {"inputs": [END | {"partial": 1}]}, GOOD | {"inputs": [END | {"fec_ratio": "1"}]},
    ],
)  # fmt: skip
def test_anything_else_is_a_wiring_error(bad):
    with pytest.raises(WiringError):
        read_wiring(json.dumps(bad) if isinstance(bad, dict) else bad)


def test_a_stream_through_shared_memory_has_a_socket():
    shared = END | {"transport": "shm", "path": "/run/otter-shm/x/s", "copy": True}
    (end,) = read_wiring(json.dumps(GOOD | {"inputs": [shared]})).inputs
    assert (end.transport, end.path, end.copy) == ("shm", "/run/otter-shm/x/s", True)
    with pytest.raises(WiringError, match="has no socket"):
        read_wiring(json.dumps(GOOD | {"inputs": [END | {"transport": "shm"}]}))


def test_the_receivers_name_of_an_input():
    assert StreamEnd(**END).receiver_input == "question"
