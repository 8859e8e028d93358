"""Reading a log while it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otter_agent.runtimes.logfile import CHUNK, LINE_LIMIT, LogFile, _cut


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
        lines += log.read()
    return lines


def test_lines_as_they_come(path, log):
    assert not log.grew()
    assert log.read() == []
    path.write_text("one\ntw")
    assert drain(log) == ["one"]
    with path.open("a") as file:
        file.write("o\nthree")
    assert drain(log) == ["two"]
    assert log.flush() == ["three"]


@pytest.mark.parametrize("tail", [0, 1, 2, 3, 99])
@pytest.mark.parametrize("end", ["", "\n"])
def test_tail(path, log, tail, end):
    lines = [f"{n} {'x' * 30_000}" for n in range(9)]
    path.write_text("\n".join(lines) + end)
    log.seek_tail(tail)
    assert [*drain(log), *log.flush()] == (lines[-tail:] if tail else [])


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


@given(st.text(st.sampled_from("aé€😀")), st.integers(0, 3))
def test_cuts_fall_between_characters(text, shift):
    line = b"a" * (LINE_LIMIT - shift) + text.encode() * (LINE_LIMIT // 8)
    pieces = _cut(line)
    assert b"".join(pieces) == line
    for piece in pieces:
        assert len(piece) <= LINE_LIMIT
        piece.decode()
