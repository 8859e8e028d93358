"""Colours and type of the pictures, for light and dark. Pure data.

Plain classes and no variables: every renderer of SVG knows them; those that know no media queries
show the light ones. Contrast of texts is 4.5:1 or more (WCAG 2.1 AA) in both.
"""

from __future__ import annotations

FONT = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans',"
    " 'DejaVu Sans', sans-serif"
)

_SHAPES = f"""
text{{font-family:{FONT};font-size:11px}}
.title{{font-size:19px;font-weight:650}}
.name{{font-size:15px;font-weight:650}}
.module{{font-size:13px;font-weight:550}}
.box,.stack{{stroke-width:1.25}}
.chip{{stroke-width:1}}
.link{{fill:none;stroke-width:2;stroke-linecap:round}}
.stream{{fill:none;stroke-width:1.75;stroke-linecap:round}}
.udp{{stroke-dasharray:7 4}}
.shm{{stroke-dasharray:1.5 4}}
.outer{{fill:none;stroke-width:1.75;stroke-dasharray:2 5;stroke-linecap:round}}
.gone{{stroke-dasharray:5 4}}
.faint{{opacity:.45;stroke-width:1}}
.bold{{font-weight:650}}
.mid{{text-anchor:middle}}
"""


def _colours(paint: dict[str, str]) -> str:
    """One rule per class and property."""
    return "".join(f"{selector}{{{rule}}}\n" for selector, rule in paint.items())


def _theme(**c: str) -> str:
    return _colours(
        {
            ".paper": f"fill:{c['paper']}",
            ".text": f"fill:{c['text']}",
            ".dim": f"fill:{c['dim']}",
            ".box": f"fill:{c['box']};stroke:{c['edge']}",
            ".stack": f"fill:{c['head']};stroke:{c['edge']}",
            ".head": f"fill:{c['head']}",
            ".chip": f"fill:{c['chip']};stroke:{c['chip_edge']}",
            ".cloud": f"fill:{c['head']};stroke:{c['edge']}",
            ".halo": f"fill:{c['paper']};fill-opacity:.85",
            ".link": f"stroke:{c['link']}",
            ".linkhead": f"fill:{c['link']}",
            ".linktext": f"fill:{c['text']}",
            ".stream": f"stroke:{c['stream']}",
            ".streamhead": f"fill:{c['stream']}",
            ".streamtext": f"fill:{c['stream']}",
            ".outer": f"stroke:{c['link']}",
            ".good": f"fill:{c['create']}",
            ".busy": f"fill:{c['update']}",
            ".bad": f"fill:{c['remove']}",
            ".idle": f"fill:{c['link']}",
            **_marks(c),
        }
    )


def _marks(c: dict[str, str]) -> dict[str, str]:
    """What a plan does: outlines and lines, heads, texts."""
    rules = {}
    for kind in ("create", "update", "replace", "remove"):
        colour = c[kind]
        rules[f".box.{kind},.chip.{kind}"] = f"stroke:{colour};stroke-width:2.25"
        rules[f".link.{kind},.stream.{kind}"] = f"stroke:{colour}"
        rules[f"text.{kind},polygon.{kind}"] = f"fill:{colour}"
    return rules


LIGHT = _theme(
    paper="#ffffff", text="#1b2430", dim="#57606c", box="#fbfcfd", edge="#9aa7b6",
    head="#e9eef4", chip="#e6f1fb", chip_edge="#8fb8e0", link="#5b6b7d", stream="#0b6bb5",
    create="#157a32", update="#8a5c00", replace="#7a45d6", remove="#c62828",
)  # fmt: skip
DARK = _theme(
    paper="#0f141a", text="#e8edf3", dim="#a3afbc", box="#171e26", edge="#56657a",
    head="#232d39", chip="#12304d", chip_edge="#2f6ca5", link="#93a3b5", stream="#66b3f5",
    create="#4ac26b", update="#e3b341", replace="#c297ff", remove="#ff7b72",
)  # fmt: skip

CSS = f"{_SHAPES}{LIGHT}@media (prefers-color-scheme:dark){{\n{DARK}}}\n"
