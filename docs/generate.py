"""Writes what is made from the code: the reference of keys and verbs, and the pictures.

python docs/generate.py            write all
python docs/generate.py --check    name what is stale; exit with 1 if anything is
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from reference_commands import commands_page
from reference_topology import topology_page

from otter_ctl.graph.build import of_topology
from otter_ctl.graph.fold import fold
from otter_ctl.graph.svg import svg
from otter_ctl.topology import load

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def pages() -> Iterator[tuple[Path, str]]:
    """Each file that is made, and what is to be in it."""
    for path in drawn_topologies():
        yield DOCS / "pictures" / f"{path.stem}.svg", drawn(path)
    with tempfile.TemporaryDirectory() as folder:
        yield DOCS / "pictures" / "tutorial.svg", drawn(of_the_tutorial(Path(folder)))
    yield DOCS / "reference" / "topology.md", topology_page(DOCS / "reference" / "examples.toml")
    yield DOCS / "reference" / "commands.md", commands_page()


def drawn_topologies() -> list[Path]:
    """The files whose pictures the docs show."""
    own = sorted((ROOT / "topologies").glob("*.toml"))
    return [*own, *sorted((DOCS / "pictures").glob("*.toml"))]


def drawn(path: Path) -> str:
    """A topology as SVG."""
    return svg(fold(of_topology(load(path))))


def of_the_tutorial(folder: Path) -> Path:
    """The topology that the tutorial's reader writes, with the files that it needs."""
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "topology.toml"


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    stale = []
    for path, text in pages():
        now = path.read_text(encoding="utf-8") if path.exists() else None
        if now != text:
            stale.append(path)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    verb = "stale" if "--check" in arguments else "wrote"
    for path in stale:
        print(f"{verb}: {path.relative_to(ROOT)}")
    if stale and "--check" in arguments:
        print("run make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
