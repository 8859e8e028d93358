"""Mermaid: every line is of its grammar, whatever the names and texts."""

from __future__ import annotations

import re

from helpers.topologies import COUNTED, PARALLEL, TIERS

from otter_ctl.graph.fold import fold
from otter_ctl.graph.mermaid import mermaid
from otter_ctl.graph.model import Host, Link, Module, Picture, Stream

TEXT = r'"(?:[^"#;`*_\\%{}<>&\n]|\#\w+;|<br/>)+"'
LINE = re.compile(
    rf"""---|title:\ "[a-z0-9_-]+"|flowchart\ LR|\ \ end
    |\ \ subgraph\ h\d+\[{TEXT}\] | \ \ h\d+\[{TEXT}\] | \ \ \ \ m\d+\({TEXT}\)
    |\ \ h\d+\ (---|-->)(\|{TEXT}\|)?\ h\d+ | \ \ h\d+\ -\.-\ outh\d+\(\("outside"\)\)
    |\ \ m\d+\ (==>|-\.->)\|{TEXT}\|\ m\d+
    |\ \ style\ [hm]\d+\ stroke:\#\w{{6}},stroke-width:3px
    |\ \ linkStyle\ \d+\ stroke:\#\w{{6}}""",
    re.VERBOSE,
)


def sound(text: str) -> bool:
    lines = text.splitlines()
    wrong = [line for line in lines if not LINE.fullmatch(line)]
    assert wrong == []
    assert sum(line.startswith("  subgraph") for line in lines) == lines.count("  end")
    return True


def test_hosts_modules_links_and_streams(picture):
    text = mermaid(picture(TIERS))
    assert sound(text)
    assert 'subgraph h4["edge · 2 cpu · 4GiB"]' in text
    assert 'h5 -.- outh5(("outside"))' in text
    assert re.search(r'm0 ==>\|"video → raw · tcp"\| m6', text)
    assert 'h4 ---|"fibre<br/>18ms"| h5' in text


def test_one_way_parallel_and_folded(picture):
    text = mermaid(picture(PARALLEL))
    assert sound(text)
    assert len(re.findall(r"^  h0 ---\|", text, re.MULTILINE)) == 2
    assert "h1 -->|" in text
    assert sound(mermaid(fold(picture(COUNTED))))
    assert "client × 100" in mermaid(fold(picture(COUNTED)))


def test_texts_are_escaped_and_names_are_no_keywords():
    """Checked by hand as well, with Mermaid 11 in a browser: it draws this and strips nothing."""
    hostile = 'x"]<b>&amp;#;{}|--> %%{init:{}}%% end ]]> ` * _ \\ \x00\u202e\n'
    drawn = Picture(
        name="end", kind="plan",
        hosts=(
            Host(name="end", change="create", modules=(Module(name="class", what=hostile),)),
            Host(name="click", machine=hostile, change="remove"),
        ),
        links=(
            Link(name="style", a="end", b="click", forward={}, reverse={}, change="create"),
            Link(name="x", a="end", b="click", forward={"loss_ratio": 0.5}),
        ),
        streams=(
            Stream(source="class", output="o", target="class", input="i", transport="udp",
                   change="remove"),
        ),
    )  # fmt: skip
    text = mermaid(drawn)
    assert sound(text)
    assert "  linkStyle 0 stroke:#157a32" in text
    assert "  linkStyle 2 stroke:#c62828" in text
    assert "  style h1 stroke:#c62828,stroke-width:3px" in text
