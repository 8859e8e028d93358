"""What a module leaves in its state folder."""

from __future__ import annotations

import asyncio
import csv

import numpy as np
import pytest

from net import records as under_test
from net.ids import DERIVED
from net.messages import Message
from net.outlets import Lost
from net.records import Records, say_ready
from net.stamps import stamps
from net.traces import COLUMNS, TIMES


def message(number=1, **fields):
    made = Message("x", number, 7, number, None, 1.0, 1.5, 2.0, 0.0, 99)
    made.source, made.stream, made.received, made.taken = "a", "a.x>b.y", 3.0, 4.0
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def read(folder):
    with (folder / "messages.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_line_per_message_once(tmp_path):
    records = Records(tmp_path, "b")
    first = message()
    records.add(first, 5.0)
    records.add(first, 6.0)
    records.add(message(2, reply_to="c:1:1"), 7.0)
    records.close()
    lines = read(tmp_path)
    assert [line["id"] for line in lines] == ["a:00000007:1", "a:00000007:2"]
    assert lines[0] == {
        "id": "a:00000007:1", "reply_to": "", "stream": "a.x>b.y", "from": "a", "to": "b",
        "made": "1.000000", "queued": "1.500000", "sent": "2.000000", "received": "3.000000",
        "taken": "4.000000", "done": "5.000000", "bytes": "99", "outcome": "done",
        "clock_error_s": "0",
    }  # fmt: skip
    assert tuple(lines[0]) == COLUMNS
    assert lines[1]["reply_to"] == "c:1:1"


def test_what_did_not_leave_has_no_times_of_the_other_side(tmp_path):
    records = Records(tmp_path, "a")
    records.add_lost(Lost(7, 3, None, 1.0, 1.5, 80, "expired"), "a.x>b.y", "b")
    records.close()
    (line,) = read(tmp_path)
    assert (line["id"], line["from"], line["to"]) == ("a:00000007:3", "a", "b")
    assert [line[c] for c in ("made", "queued", "sent", "taken")] == [
        "1.000000",
        "1.500000",
        "",
        "",
    ]
    assert line["outcome"] == "expired"


@pytest.mark.slow
def test_lines_are_written_together_a_moment_later(tmp_path):
    async def work():
        records = Records(tmp_path, "b")
        records.add(message(), 5.0)
        assert not (tmp_path / "messages.csv").exists()
        deadline = asyncio.get_running_loop().time() + 10
        while not (tmp_path / "messages.csv").exists():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)
        records.add(message(2), 5.0)
        records.close()

    asyncio.run(work())
    assert len(read(tmp_path)) == 2


def test_many_are_not_waited_with(tmp_path):
    records = Records(tmp_path, "b")
    for number in range(under_test.WRITE_AT):
        records.add(message(number), 5.0)
    assert len(read(tmp_path)) == under_test.WRITE_AT
    records.close()


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb", "a\x1bb", ""])
def test_a_peer_with_any_name_makes_one_line(tmp_path, name):
    records = Records(tmp_path, "b")
    records.add(message(source=name, reply_to=f"{name}:1"), 5.0)
    records.close()
    assert len((tmp_path / "messages.csv").read_text().splitlines()) == 2
    (line,) = read(tmp_path)
    assert line["from"] == "".join(c if c.isprintable() else "?" for c in name)
    assert line["clock_error_s"] == "0"


def test_a_full_file_stops_recording_and_says_so_once(tmp_path, capsys):
    records = Records(tmp_path, "b", limit_bytes=400)
    for number in range(2 * under_test.WRITE_AT):
        records.add(message(number), 5.0)
    records.close()
    text = (tmp_path / "messages.csv").read_text()
    assert 0 < len(text) <= 400
    assert text.endswith("\n")
    assert capsys.readouterr().err.count("no longer recorded") == 1


def test_the_limit_counts_what_an_earlier_instance_wrote(tmp_path, capsys):
    (tmp_path / "messages.csv").write_text("x" * 399 + "\n")
    records = Records(tmp_path, "b", limit_bytes=400)
    records.add(message(), 5.0)
    records.close()
    assert (tmp_path / "messages.csv").stat().st_size == 400
    assert "full" in capsys.readouterr().err


def test_after_a_life_that_was_killed_in_the_middle_of_a_line_a_new_one_begins(tmp_path):
    (tmp_path / "messages.csv").write_text(",".join(COLUMNS) + "\na:1:1,,a.x>")
    records = Records(tmp_path, "b")
    records.add(message(), 5.0)
    records.close()
    assert (tmp_path / "messages.csv").read_text().splitlines()[-1].startswith("a:00000007:1,")


def test_a_folder_that_cannot_be_written_to_never_harms_the_module(tmp_path, capsys):
    records = Records(tmp_path / "gone", "b")
    for number in range(3 * under_test.WRITE_AT):
        records.add(message(number), 5.0)
    records.close()
    assert capsys.readouterr().err.count("can't write") == 1


def test_without_a_folder_nothing_is_kept():
    records = Records(None, "b")
    records.add(message(), 5.0)
    records.add_lost(Lost(7, 3, None, 1.0, 1.5, 80, "expired"), "a.x>b.y", "b")
    records.close()


def test_ready_is_one_file(tmp_path):
    say_ready(tmp_path)
    say_ready(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


def test_lines_are_the_same_however_many_are_written_together(tmp_path):
    """Times of our days are written many at once, others one by one."""
    begin = 1.8e9 + 0.9999995
    times = [begin + n * 0.1234567 for n in range(500)]
    fields = ("made", "queued", "sent", "received", "taken")
    rows = [
        message(n, reply_to=f"c:1:{n}" if n % 2 else None, source="a" if n % 3 else 'a"b',
                run=n % 5 | (DERIVED if n % 7 == 0 else 0),
                **{field: at + i for i, field in enumerate(fields)})
        for n, at in enumerate(times)
    ]  # fmt: skip
    texts = []
    for together in (1, len(rows)):
        folder = tmp_path / str(together)
        folder.mkdir()
        records = Records(folder, "b")
        for number, each in enumerate(rows):
            each.recorded = False
            records.add(each, each.taken + 1)
            if number % together == 0:
                records.flush()
        records.close()
        texts.append((folder / "messages.csv").read_text())
    one, other = (list(csv.DictReader(text.splitlines())) for text in texts)
    for ours, theirs in zip(one, other, strict=True):
        for name in COLUMNS:
            if name in TIMES:  # half a microsecond may go either way
                assert abs(float(ours.pop(name)) - float(theirs.pop(name))) < 1.5e-6
        assert ours == theirs
    assert ",1800000001.000000," in texts[1].splitlines()[1]


@pytest.mark.parametrize("odd", [0.0, 1.0, -5.0, 1e15, float("nan"), float("inf")])
def test_times_that_are_none_of_our_days_are_written_one_by_one(odd):
    times = np.full((3, 2), 1.8e9)
    assert stamps(times) == ["1800000000.000000,1800000000.000000,"] * 3
    times[1, 1] = odd
    assert stamps(times) is None
