"""What a module leaves in its state folder."""

from __future__ import annotations

import json

from net.messages import Message
from net.records import Records, say_ready


def message(number=1):
    made = Message("x", number, 7, number, None, 1.0, 1.5, 2.0, 0.0, 99)
    made.source, made.stream, made.received, made.taken = "a", "a.x>b.y", 3.0, 4.0
    return made


def test_one_line_per_message_once(tmp_path):
    records = Records(tmp_path, "b")
    first = message()
    records.add(first, 5.0)
    records.add(first, 6.0)
    records.add(message(2), 7.0)
    records.close()
    lines = [json.loads(line) for line in (tmp_path / "messages.ndjson").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a:00000007:1", "a:00000007:2"]
    assert lines[0] == {
        "stream": "a.x>b.y", "id": "a:00000007:1", "from": "a", "to": "b",
        "made": 1.0, "sent": 2.0, "received": 3.0, "taken": 4.0, "done": 5.0, "bytes": 99,
    }  # fmt: skip


def test_a_full_file_stops_recording_and_says_so_once(tmp_path, capsys):
    records = Records(tmp_path, "b", limit_bytes=400)
    for number in range(10):
        records.add(message(number), 5.0)
    records.close()
    assert 0 < (tmp_path / "messages.ndjson").stat().st_size <= 400
    assert capsys.readouterr().err.count("no longer recorded") == 1


def test_the_limit_counts_what_an_earlier_instance_wrote(tmp_path, capsys):
    (tmp_path / "messages.ndjson").write_text("x" * 399 + "\n")
    Records(tmp_path, "b", limit_bytes=400).add(message(), 5.0)
    assert (tmp_path / "messages.ndjson").stat().st_size == 400
    assert "full" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_never_harms_the_module(tmp_path, capsys):
    records = Records(tmp_path / "gone", "b")
    records.add(message(), 5.0)
    records.add(message(2), 5.0)
    assert capsys.readouterr().err.count("can't write") == 1


def test_without_a_folder_nothing_is_kept():
    Records(None, "b").add(message(), 5.0)


def test_ready_is_one_file(tmp_path):
    say_ready(tmp_path)
    say_ready(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
