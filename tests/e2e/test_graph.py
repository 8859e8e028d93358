"""`otterctl graph` and `plan --graph`: of files and of a mesh that runs; seen by a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.otter import BIN
from helpers.topologies import COUNTED, PARALLEL, TIERS, host, module

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "topologies" / "hello.toml"
SLEEPS = (
    host("edge", "cpu = 0.5")
    + '[modules.a]\nruntime = "process"\ncommand = ["sleep", "inf"]\n'
    + '[modules.b]\nruntime = "process"\ncommand = ["sleep", "inf"]\n'
)


@pytest.fixture
def ctl(tmp_path):
    """`otterctl` with no agent, in an empty folder."""

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [BIN / "otterctl", "--root", tmp_path / "root", *arguments]
        done = subprocess.run(
            list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_a_file_as_svg_and_mermaid_wherever_asked(ctl, tmp_path):
    drawn = ctl("graph", HELLO).stdout  # stdout is no terminal: it goes there
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    told = ctl("graph", HELLO, "-o", "sub/hello.svg").stderr
    assert (tmp_path / "sub" / "hello.svg").read_text() == drawn
    assert told == "wrote sub/hello.svg\n"
    mermaid = ctl("graph", HELLO, "--format", "mermaid").stdout
    assert mermaid.startswith("---\n")
    ctl("graph", HELLO, "-o", "hello.mmd")
    assert (tmp_path / "hello.mmd").read_text() == mermaid
    assert ctl("graph", HELLO, "-o", "-").stdout == drawn
    assert not list(tmp_path.glob("root")), "no agent was started"


def test_its_data_as_json(ctl):
    document = json.loads(ctl("graph", HELLO, "--json").stdout)
    assert document["hosts"][0]["modules"][0]["name"] == "hello"
    assert document["kind"] == "topology"


def test_counted_hosts_folded_or_each_alone(ctl, tmp_path):
    file = tmp_path / "many.toml"
    file.write_text('name = "many"\n' + COUNTED)
    assert "client × 100" in ctl("graph", file).stdout
    assert ">client-57<" in ctl("graph", file, "--expand").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.toml"], 2, "nowhere.toml"),
        ([str(HELLO), "-m", "lab"], 2, "not both"),
        ([str(HELLO), "-o", "picture.png"], 2, "end its name with one of .svg"),
        (["--set", "a=1"], 2, "name one"),
        ([], 2, "name a file to draw: no agent"),
        ([str(HELLO), "-o", "/proc/x.svg"], 1, "/proc/x.svg"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(ctl, arguments, code, said):
    shown = ctl("graph", *arguments, code=code).stderr
    assert said in shown


def test_a_plan_of_a_new_mesh(ctl, tmp_path):
    done = ctl("plan", HELLO, "--graph", "plan.svg")
    assert "+ module hello" in done.stdout
    assert ElementTree.fromstring((tmp_path / "plan.svg").read_text()) is not None
    assert ctl("plan", HELLO, "--graph", "mermaid").stdout.startswith("---\n")


@pytest.mark.netns
def test_a_mesh_that_runs_and_what_a_plan_changes_of_it(otter):
    otter("apply", otter.topology(f'name = "drawn"\n{SLEEPS}'))
    drawn = otter("graph").stdout
    assert "ready · 1 host" in drawn
    assert otter("graph", "-m", "drawn").stdout == drawn
    changed = otter.topology(
        'name = "drawn"\n' + SLEEPS.replace("modules.b", "modules.c") + module("d", "edge")
    )
    planned = otter("plan", changed, "--graph", "mermaid", "--set", "modules.a.cpu=0.2").stdout
    assert all(mark in planned for mark in ("~ a", "− b", "+ c", "+ d"))
    otter("graph", "-m", "nothing", code=1)


MEASURE = """
<script>
const wrong = [];
for (const text of document.querySelectorAll("svg text")) {
  const box = text.getBBox();
  const before = [];
  for (let one = text.previousElementSibling; one; one = one.previousElementSibling)
    if (one.tagName === "rect") { before.push(one); }
  const middle = box.y + box.height / 2;
  const around = before.map(r => r.getBBox()).find(r =>
    r.x <= box.x + 1 && box.x < r.x + r.width && r.y <= middle && middle <= r.y + r.height);
  if (around && box.x + box.width > around.x + around.width + 1)
    wrong.push(text.textContent + " " + (box.x + box.width - around.x - around.width).toFixed(1));
}
const paper = getComputedStyle(document.querySelector(".paper")).fill;
const name = document.querySelector(".name");
const said = {wrong, paper, name: name && getComputedStyle(name).fill};
document.body.innerHTML = "<pre>" + JSON.stringify(said) + "</pre>";
</script>
"""


@pytest.fixture(scope="session")
def browser(require):
    """Loads a page in a real browser and returns what its script wrote."""
    program = shutil.which("chromium")
    require("browser", program, "no chromium")

    def load(page: Path, *, dark: bool = False) -> dict:
        profile = page.with_suffix(".profile")
        scheme = f"preferredColorScheme={0 if dark else 1}"
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
            f"--blink-settings={scheme}", "--dump-dom", page.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return json.loads(re.search(r"<pre>(.*)</pre>", done.stdout)[1])

    return load


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_every_text_in_its_box_and_both_themes(ctl, tmp_path, browser, dark):
    page = "<!doctype html><meta charset='utf-8'><body>"
    for name, text in {"tiers": TIERS, "parallel": PARALLEL, "counted": COUNTED}.items():
        (tmp_path / f"{name}.toml").write_text(f'name = "{name}"\n{text}')
        page += ctl("graph", tmp_path / f"{name}.toml").stdout
    (tmp_path / "page.html").write_text(page + MEASURE)
    seen = browser(tmp_path / "page.html", dark=dark)
    assert seen["wrong"] == []
    assert seen["paper"] == ("rgb(15, 20, 26)" if dark else "rgb(255, 255, 255)")
    assert seen["name"] == ("rgb(232, 237, 243)" if dark else "rgb(27, 36, 48)")
