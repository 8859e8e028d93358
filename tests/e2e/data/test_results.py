"""What modules leave: outputs of any size, a full disk, and what has to be known of a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.folders import small_disk

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]
MIB = 1 << 20


def run_folder(otter, name="data") -> Path:
    return max((otter.runs / name).iterdir(), key=lambda path: path.stat().st_mtime_ns)


def peak_kib(pid: int) -> int:
    """The most memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def test_ten_gigabytes_are_brought_without_being_held_anywhere(place):
    """Ten gigabytes of holes with data in them, and 48 MiB without, twice: running, and ended."""
    otter = place.otter
    script = (
        "cd $OTTER_WORK; truncate -s 10G big; echo end >> big; head -c 48m /dev/urandom > full;"
        "echo made; exec sleep 1000"
    )
    file = place.topology(place.module(script, outputs='["big", "full", "*.none", "d/*.x"]'))
    otter("apply", file)
    place.says("made")
    otter("fetch", "-m", "data")
    before = peak_kib(otter.agent_pid)
    done = otter("fetch", "-m", "data")
    assert peak_kib(otter.agent_pid) - before < 32 * 1024
    for pattern in ("*.none", "d/*.x"):
        assert f'warning: module m: output "{pattern}" matches nothing' in done.stderr
    assert otter.json("fetch", "-m", "data")["warnings"][1:] == [
        'module m: output "d/*.x" matches nothing'
    ]
    big = run_folder(otter) / "outputs/m/big"
    assert big.stat().st_size == (10 << 30) + 4
    assert big.stat().st_blocks * 512 < MIB
    with big.open("rb") as opened:
        opened.seek(10 << 30)
        assert opened.read() == b"end\n"
    assert not list((otter.root / "a" / "lib" / "scratch").iterdir())
    otter("stop", "-m", "data", "m")
    big.unlink()
    otter("destroy", "-m", "data", "--yes")
    assert big.stat().st_size == (10 << 30) + 4
    big.unlink()


def test_hostile_names_of_outputs(place):
    script = (
        "cd $OTTER_WORK; mkdir -p 'a b'; echo 1 > 'a b/-rf'; echo 2 > \"$(printf 'new\\nline')\";"
        "echo 3 > \"$(printf '\\377')\"; ln -s /etc/passwd link; mkfifo pipe; echo made;"
        "exec sleep 1000"
    )
    place.otter("apply", place.topology(place.module(script, outputs='["*"]')))
    place.says("made")
    said = place.otter("fetch", "-m", "data").stdout
    assert "outputs/m/new\\nline\n" in said
    assert "outputs/m/\\udcff\n" in said
    assert "outputs/m/\\udcff" in place.otter.json("fetch", "-m", "data")["files"]
    outputs = run_folder(place.otter) / "outputs" / "m"
    found = {path.relative_to(outputs).as_posix() for path in outputs.rglob("*") if path.is_file()}
    assert found == {"a b/-rf", "new\nline", "\udcff"}


def test_a_full_disk_loses_nothing(place, tmp_path):
    """8 MiB of outputs, 4 MiB of room: destroy stops, and says where and how much is missing."""
    otter = place.otter
    script = "cd $OTTER_WORK; head -c 8m /dev/zero > big; echo small > small; echo made;"
    script += "exec sleep 1000"
    with small_disk(tmp_path / "full", 4) as disk:
        otter.env["OTTER_RUNS"] = str(disk)
        try:
            otter("apply", place.topology(place.module(script, outputs='["*"]')))
            place.says("made")
            said = otter("destroy", "-m", "data", "--yes", code=1).stderr
            assert "No space left on device" in said
            assert "1 files, 8.0 MiB, are not in" in said
            assert str(disk) in said
            assert "mesh data was not destroyed" in said
            assert "--discard" in said
            assert otter.modules("data")["m"]["state"] == "ready"
            folder = next((disk / "data").iterdir())
            assert (folder / "outputs/m/small").read_text() == "small\n"
            assert not (folder / "outputs/m/big").exists()
            assert not list(folder.glob(".new*"))
            otter("--runs", tmp_path / "other", "fetch", "-m", "data")
            big = next((tmp_path / "other" / "data").iterdir()) / "outputs/m/big"
            assert big.stat().st_size == 8 * MIB
            assert "not everything was fetched" in otter(
                "destroy", "-m", "data", "--yes", "--discard"
            ).stderr  # fmt: skip
            assert otter.json("ls") == []
        finally:
            otter.env["OTTER_RUNS"] = str(otter.runs)


def test_an_earlier_result_survives_a_full_disk(place, tmp_path):
    otter = place.otter
    script = "cd $OTTER_WORK; echo first > out; echo made; exec sleep 1000"
    with small_disk(tmp_path / "full", 4) as disk:
        otter.env["OTTER_RUNS"] = str(disk)
        try:
            otter("apply", place.topology(place.module(script, outputs='["*"]')))
            place.says("made")
            otter("fetch", "-m", "data")
            place.inside("sh", "-c", "head -c 8m /dev/zero > $OTTER_WORK/out")
            otter("fetch", "-m", "data", code=1)
            folder = next((disk / "data").iterdir())
            assert (folder / "outputs/m/out").read_text() == "first\n"
            otter("destroy", "-m", "data", "--yes", "--no-fetch")
        finally:
            otter.env["OTTER_RUNS"] = str(otter.runs)


def test_the_run_folder_says_what_ran(place):
    otter = place.otter
    (otter.root / "base.toml").write_text("[hosts.h]\ncpu = 1.0\n")
    head = 'name = "data"\nseed = 7\ninclude = ["base.toml"]\n'
    text = f'{head}{place.module("echo one; exec sleep 1000")}host = "h"\n'
    file = otter.topology(text)
    otter("apply", file)
    otter("apply", file)  # the same: no entry of its own
    otter("apply", file, "--set", "modules.m.env.X=1")
    place.says("one")  # a container's log goes with it: this is the second one's
    otter("destroy", "-m", "data", "--yes")
    folder = run_folder(otter)
    facts = json.loads((folder / "run.json").read_text())
    assert [facts["format"], facts["mesh"], facts["seed"]] == [1, "data", 7]
    assert [a["set"] for a in facts["applies"]] == [[], ["modules.m.env.X=1"]]
    for apply in facts["applies"]:
        kept = folder / apply["folder"]
        assert (kept / "topology.toml").read_text() == text
        assert (kept / "included" / "1-base.toml").read_text() == "[hosts.h]\ncpu = 1.0\n"
        assert json.loads((kept / "plan.json").read_text())["seed"] == 7
    assert (folder / "topology.toml").read_text() == text
    (machine,) = facts["machines"]
    assert machine["kernel"]
    assert machine["version"] == facts["controller"]["version"]
    assert facts["controller"]["python"]
    assert facts["modules"]["m"]["runtime"] == place.runtime
    if place.runtime == "docker":
        assert facts["modules"]["m"]["digest"]
        (docker,) = [r for r in machine["runtimes"] if r["name"] == "docker"]
        assert re.match(r"\d+\.\d+", docker["detail"])
    events = [json.loads(line) for line in (folder / "events.ndjson").read_text().splitlines()]
    assert {"ready"} <= {event["state"] for event in events}
    assert "destroyed" not in {event["state"] for event in events}  # those of this run
    assert "one" in (folder / "logs" / "m.log").read_text()
