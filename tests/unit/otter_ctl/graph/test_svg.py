"""SVG: sound XML that needs nothing else, boxes apart, everything inside, the same every time."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from itertools import combinations, cycle, islice
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.topologies import COUNTED, PARALLEL, TIERS, host, link, module, stream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otter_ctl.graph import style
from otter_ctl.graph.fold import fold
from otter_ctl.graph.layout import lay_out
from otter_ctl.graph.model import Host, Link, Module, Picture, Stream
from otter_ctl.graph.routes import route
from otter_ctl.graph.svg import svg

ROOT = Path(__file__).parents[4]
SVG = "{http://www.w3.org/2000/svg}"


def texts(drawn: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


@pytest.mark.slow
@pytest.mark.parametrize("text", [PARALLEL, TIERS, COUNTED, host("alone")])
def test_it_stands_alone_and_tells_what_it_shows(picture, text):
    drawn = svg(fold(picture(text)))
    root = ElementTree.fromstring(drawn)
    assert root.find(f"{SVG}title").text == "drawn"
    assert root.find(f"{SVG}desc").text.startswith(picture(text).summary)
    assert root.get("role") == "img"
    assert "prefers-color-scheme:dark" in root.find(f"{SVG}style").text
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {
        "svg", "title", "desc", "style", "g", "rect", "path", "polygon", "circle", "text"
    }  # fmt: skip
    assert re.findall(r"(?:https?:)?//[^\"' )]+", drawn) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"url\(|@import|href|<script", drawn)


@pytest.mark.slow
def test_what_is_written_in_it(picture):
    said = texts(svg(fold(picture(TIERS))))
    for name in ("camera-a", "gate", "detector", "fibre", "18ms", "2 cpu · 4GiB", "outside"):
        assert name in said
    assert "video → raw · tcp" in said
    assert "client × 100" in texts(svg(fold(picture(COUNTED))))


def test_both_directions_where_they_differ(picture):
    said = texts(svg(picture(PARALLEL)))
    assert {"wifi", "4ms · 50mbit", "radio", "30ms", "← 2mbit", "broadcast"} <= set(said)
    assert "250ms · loss 2%" in said


def test_one_way_links_have_a_head_and_parallel_ones_stand_apart(picture):
    drawn = picture(PARALLEL)
    routes = route(lay_out(drawn))
    middles = [one.at(0.5)[1] for one in routes]
    assert all(abs(a - b) > 20 for a, b in combinations(middles, 2))
    assert len(re.findall(r'class="linkhead"', svg(drawn))) == 1


def test_texts_are_escaped():
    hostile = "a]]><script>alert('1')</script>&amp;\x01\u202e\ud800\"\n"
    drawn = svg(
        Picture(
            name="n", kind="topology",
            hosts=(Host(name="h", machine=hostile, modules=(Module(name="m", what=hostile),)),),
        )
    )  # fmt: skip
    assert "<script" not in drawn
    assert "\u202e" not in drawn
    assert any("scri" in text and "&amp;" in text for text in texts(drawn))
    drawn.encode()


@pytest.mark.slow
def test_it_is_the_same_every_time():
    """Committed pictures change only with what they show: no order of sets or of hashes."""
    code = (
        "from pathlib import Path\nfrom otter_ctl.graph.build import of_topology\n"
        "from otter_ctl.graph.svg import svg\nfrom otter_ctl.topology import load\n"
        "for path in sorted(Path('topologies').glob('*.toml')): print(svg(of_topology(load(path))))"
    )
    drawn = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(drawn) == 1


@st.composite
def pictures(draw) -> Picture:
    """Up to 12 hosts with modules, any links and streams between them, gateways among them."""
    count = draw(st.integers(1, 12))
    per = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    hosts = tuple(
        Host(
            name=f"h{n}", cpu=1.0 if n % 2 else None, gateway=draw(st.booleans()) and n % 4 == 0,
            modules=tuple(Module(name=f"m{n}x{i}", what="run") for i in range(per[n])),
        )
        for n in range(count)
    )  # fmt: skip
    ends = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    links = tuple(
        Link(
            name=f"l{i}", a=f"h{a}", b=f"h{b}", forward={"delay_s": 0.01},
            reverse=None if i % 3 == 0 else {"delay_s": 0.02},
        )
        for i, (a, b) in enumerate(draw(st.lists(ends, max_size=20))) if a != b
    )  # fmt: skip
    modules = [m.name for h in hosts for m in h.modules]
    pairs = draw(st.lists(st.tuples(st.sampled_from(modules), st.sampled_from(modules)),
                          max_size=12)) if modules else []  # fmt: skip
    streams = tuple(
        Stream(source=a, output=f"o{i}", target=b, input="i", transport="tcp")
        for i, (a, b) in enumerate(pairs) if a != b
    )  # fmt: skip
    return Picture(name="any", kind="topology", hosts=hosts, links=links, streams=streams)


@pytest.mark.slow
@given(pictures())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_boxes_overlap_and_all_is_inside(drawn):
    layout = lay_out(drawn)
    for a, b in combinations(layout.boxes, 2):
        assert not a.area.overlap(b.area), (a.title, b.title)
    for box in layout.boxes:
        for chip in box.chips:
            assert box.area.x < chip.area.x
            assert chip.area.right < box.area.right
            assert box.area.y + box.header < chip.area.y
            assert chip.area.bottom < box.area.bottom
    root = ElementTree.fromstring(svg(drawn))
    (group,) = (g for g in root.findall(f"{SVG}g") if g.get("transform"))
    dx, dy = map(float, re.findall(r"-?[\d.]+", group.get("transform")))
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in group.iter(f"{SVG}rect"):
        x, y = float(rect.get("x")) + dx, float(rect.get("y")) + dy
        assert x >= -1
        assert y >= -1
        assert x + float(rect.get("width")) <= width + 1
        assert y + float(rect.get("height")) <= height + 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hosts", "links", "streams"), [(80, 3160, 0), (2, 500, 0), (2, 0, 500), (6000, 6000, 0)]
)
def test_pictures_of_very_much_take_seconds(hosts, links, streams):
    """Placing some thousand labels took minutes; springs between 10,000 hosts 40 s."""
    ends = list(islice(cycle(combinations(range(min(hosts, 200)), 2)), links))
    much = Picture(
        name="much", kind="topology",
        hosts=tuple(Host(name=f"h{i}", modules=(Module(name=f"m{i}"),)) for i in range(hosts)),
        links=tuple(
            Link(name=f"l{i}", a=f"h{a}", b=f"h{b}", forward={"delay_s": 0.01}, reverse={})
            for i, (a, b) in enumerate(ends)
        ),
        streams=tuple(
            Stream(source="m0", output=f"o{i}", target="m1", input="i", transport="tcp")
            for i in range(streams)
        ),
    )  # fmt: skip
    begin = time.monotonic()
    svg(much)
    assert time.monotonic() - begin < 15


@pytest.mark.slow
def test_a_thousand_hosts_take_seconds():
    hosts = tuple(Host(name=f"h{i}") for i in range(1000))
    ends = [(i, (i * 7 + k * 131) % 1000) for i in range(1000) for k in range(1, 6)]
    links = tuple(
        Link(name=f"l{i}", a=f"h{a}", b=f"h{b}", forward={"delay_s": 0.01}, reverse={})
        for i, (a, b) in enumerate(ends) if a != b
    )  # fmt: skip
    many = Picture(name="many", kind="topology", hosts=hosts, links=links)
    begin = time.monotonic()
    drawn = svg(many)
    assert time.monotonic() - begin < 10  # 0.8 s on the two cores it was written on
    assert len(drawn) < 1_000_000
    boxes = lay_out(many).boxes
    assert len({(round(b.area.middle[0]), round(b.area.middle[1])) for b in boxes}) == 1000


def test_streams_pass_hosts_on_their_way_at_a_distance(picture):
    text = "".join(host(c) for c in "abc") + link("a", "b") + link("b", "c")
    drawn = picture(text + module("m", "a") + module("n", "c") + stream("m.x", "n.y"))
    layout = lay_out(drawn)
    (line,) = (one for one in route(layout) if isinstance(one.item, Stream))
    between = next(box.area for box in layout.boxes if box.title == "b")
    points = [line.at(i / 50) for i in range(51)]
    assert not [
        p for p in points
        if between.x < p[0] < between.right and between.y < p[1] < between.bottom
    ]  # fmt: skip


# --- contrast --------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def fill(theme: str, selector: str) -> str:
    return re.search(rf"^{re.escape(selector)}\{{fill:(#\w+)", theme, re.MULTILINE)[1]


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", [".paper", ".head", ".chip", ".box"])
def test_texts_can_be_read(theme, ground):
    grounds = luminance(fill(theme, ground))
    kinds = [".text", ".dim"]
    if ground in (".paper", ".chip"):
        kinds += [
            f"text.{kind},polygon.{kind}" for kind in ("create", "update", "replace", "remove")
        ]
        kinds += [".streamtext"]
    for kind in kinds:
        light, dark = sorted((luminance(fill(theme, kind)), grounds), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, kind
