"""The demo's table of where the time of a query went."""

from __future__ import annotations

from typing import Any

from examples.timeline import Query, table


def hop(source: str, target: str, made: float, **parts: float) -> dict[str, Any]:
    return {"from": source, "to": target, "made": made, "parts": parts}


def query(title: str = "as it is", link: float = 0.02) -> Query:
    one = Query(title)
    for module, line in [
        ("ear", "openai/whisper-tiny.en loaded in 1.0 s, warm in 0.5 s"),
        ("ear", "question.wav: 2.20 s of sound, 0.800 s of computing"),
        ("ear", "heard: What animal is it?"),
        ("ear", "sent: ear:1f9a03cc:1"),
        ("eye", "1 answered after 0.500 s of computing"),
        ("eye", "answer: It is a cat."),
    ]:
        one.note(module, line)
    one.hops = [
        hop("eye", "mouth", 2.0, output=0.001, sending=0, link=0.005, queue=0, module=0.1),
        hop("ear", "eye", 1.0, output=0, sending=0, link=link, queue=0.25, module=0.52),
    ]
    return one


def test_what_logs_tell_is_noted() -> None:
    one = query()
    assert (one.heard, one.answer, one.id) == (
        "What animal is it?", "It is a cat.", "ear:1f9a03cc:1",
    )  # fmt: skip
    assert one.computing == {"ear": 0.8, "eye": 0.5}


def test_parts_are_in_order_and_whole() -> None:
    parts = query().parts()
    assert list(parts)[:4] == [
        "ear: computing", "  ear > eye: sending", "  ear > eye: link", "eye: queue",
    ]  # fmt: skip
    whole = 0.8 + 0.02 + 0.25 + 0.52 + 0.001 + 0.005 + 0.1
    assert abs(sum(parts.values()) - whole * 1000) < 1e-6


def test_the_table_has_a_column_each_and_no_empty_lines() -> None:
    lines = table([query(), query("squeezed", 0.3)])
    assert " ".join(lines[0].split()) == "where the time went, ms as it is squeezed"
    assert [line.split()[-2:] for line in lines if "ear > eye: link" in line] == [["20.0", "300.0"]]
    assert not [line for line in lines if "ear > eye: sending" in line]
    assert lines[-1].split() == ["together", "1696.0", "1976.0"]


def test_nothing_is_no_table() -> None:
    assert table([]) == []
    assert table([Query("as it is")]) == []
