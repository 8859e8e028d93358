"""Reading a log while it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent.launcher.marks import Reader, Writer
from otter_agent.runtimes.logfile import CHUNK, LINE_LIMIT, Line, LogFile, Place, _cut


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def log(path):
    opened = LogFile(path)
    yield opened
    opened.close()


def drain(log: LogFile) -> list[str]:
    lines = []
    while log.grew():
        lines += texts(log.read())
    return lines


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_lines_as_they_come(path, log):
    assert not log.grew()
    assert log.read() == []
    path.write_text("one\ntw")
    assert drain(log) == ["one"]
    with path.open("a") as file:
        file.write("o\nthree")
    assert drain(log) == ["two"]
    assert texts(log.flush()) == ["three"]


@pytest.mark.parametrize("tail", [0, 1, 2, 3, 99])
@pytest.mark.parametrize("end", ["", "\n"])
def test_tail(path, log, tail, end):
    lines = [f"{n} {'x' * 30_000}" for n in range(9)]
    path.write_text("\n".join(lines) + end)
    log.seek_tail(tail)
    assert [*drain(log), *texts(log.flush())] == (lines[-tail:] if tail else [])


def test_tail_of_nothing(path, log):
    log.seek_tail(3)
    path.write_text("")
    log.seek_tail(3)
    assert drain(log) == []


def test_a_new_file_and_a_cut_one_are_read_anew(path, log):
    path.write_text("first\n")
    assert drain(log) == ["first"]
    path.rename(path.with_name("old"))
    assert not log.grew()
    path.write_text("second\n")
    assert drain(log) == ["second"]
    path.write_text("3\n")
    assert drain(log) == ["3"]


def test_long_lines_and_bad_bytes(path, log):
    path.write_bytes(b"\xff!\n" + "é".encode() * CHUNK + b"\nend\n")
    lines = drain(log)
    assert lines[0] == "�!"
    assert lines[-1] == "end"
    assert "".join(lines[1:-1]) == "é" * CHUNK


@pytest.mark.slow
@given(st.text(st.sampled_from("aé€😀")), st.integers(0, 3))
def test_cuts_fall_between_characters(text, shift):
    line = b"a" * (LINE_LIMIT - shift) + text.encode() * (LINE_LIMIT // 8)
    pieces = _cut(line)
    assert b"".join(pieces) == line
    for piece in pieces:
        assert len(piece) <= LINE_LIMIT
        piece.decode()


# --- marks ---------------------------------------------------------------------------------------


def written(path, *parts: tuple[bytes, float]) -> Writer:
    """A log written in these parts, marked after each of them."""
    marks = Writer(str(path))
    for data, time in parts:
        with path.open("ab") as file:
            file.write(data)
        marks.add(path.stat().st_size, int(time * 1e9))
    return marks


def timed(log: LogFile) -> list[tuple[str, float]]:
    lines = []
    while log.grew():
        lines += log.read()
    return [(line.text, line.time) for line in lines]


def test_a_line_has_the_time_at_which_it_was_begun(path, log):
    written(path, (b"a\nb\nhalf", 10.0), (b" way\n", 20.0), (b"c\n", 30.0))
    assert timed(log) == [("a", 10.0), ("b", 10.0), ("half way", 10.0), ("c", 30.0)]


def test_what_is_not_marked_has_the_time_of_the_last_write(path, log):
    written(path, (b"a\n", 10.0))
    with path.open("ab") as file:
        file.write(b"b\nc")
    now = path.stat().st_mtime
    assert timed(log) == [("a", 10.0), ("b", now)]
    assert log.flush() == [Line("c", now)]


@pytest.mark.parametrize(
    ("since", "first"), [(5.0, "a"), (10.0, "a"), (10.5, "c"), (20.0, "c"), (25.0, "d"), (31, None)]
)
def test_since(path, log, since, first):
    written(path, (b"a\nb\nhalf", 10.0), (b" way\nc\n", 20.0), (b"d\n", 30.0))
    log.seek_since(since)
    lines = [(text, time) for text, time in timed(log) if time >= since]
    assert [text for text, _ in lines[:1]] == ([first] if first else [])


def test_another_reader_goes_on_where_one_was(path, log):
    path.write_text("one\ntwo\nthr")
    assert drain(log) == ["one", "two"]
    other = LogFile(path)
    other.seek(log.place)
    with path.open("a") as file:
        file.write("ee\n")
    assert drain(other) == ["three"]
    other.close()
    another = LogFile(path)
    another.seek(Place((1, 2), 4))  # another file
    assert drain(another) == ["one", "two", "three"]
    another.close()


def test_what_is_kept_no_more_is_skipped_and_said(path, log):
    marks = written(path, (b"first\nsecond\nthird\n", 10.0))
    assert texts(log.read()) == ["first", "second", "third"]
    with path.open("ab") as file:
        file.write(b"fourth\nfifth\n")
    marks.set_base(path.stat().st_size - 8)  # within "fourth"
    said, fifth = [*log.read(), *log.read()]
    assert "7 bytes of this log were dropped" in said.text
    assert fifth.text == "fifth"
    fresh = LogFile(path)
    assert drain(fresh) == ["fifth"]
    fresh.close()
    fresh = LogFile(path)
    fresh.seek_tail(99)
    assert drain(fresh) == ["fifth"]
    fresh.close()


@pytest.mark.slow
def test_marks_are_thinned_and_stay_in_order(path, monkeypatch):
    monkeypatch.setattr("otter_agent.launcher.marks.MOST_MARKS", 100)
    marks = Writer(str(path))
    for n in range(1, 1001):
        marks.add(n * 10, n * 10**9)
    reader = Reader(str(path))
    reader.refresh()
    times = [reader.time_of(n * 10 - 1) for n in range(1, 1001)]
    assert times == sorted(times)
    assert all(time >= n for n, time in enumerate(times, 1))
    assert times[-40:] == [float(n) for n in range(961, 1001)]
    assert Writer(str(path)).size == 10000
    assert path.with_name("log.marks").stat().st_size <= 16 + 100 * 16


def test_marks_that_are_something_else_are_none(path, log):
    path.write_text("a\n")
    path.with_name("log.marks").write_bytes(b"\0" * 100)
    assert timed(log) == [("a", path.stat().st_mtime)]
    marks = Writer(str(path))
    marks.add(2, 10**9)
    assert timed_again(path) == [("a", 1.0)]


def timed_again(path) -> list[tuple[str, float]]:
    log = LogFile(path)
    lines = timed(log)
    log.close()
    return lines
