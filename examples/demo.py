"""A phone hears a question and tells an edge host: `make demo`, ARGS='--wav FILE'.

Applies topologies/heard.toml with the installed `otterctl`, waits until its modules are done, and
tells what was heard, where each module ran, and where the time went. In containers where a Docker
engine answers; as processes where none does, or where its images can't be made.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOPOLOGY = ROOT / "topologies" / "heard.toml"
OTTERCTL = Path(sys.executable).with_name("otterctl")
MESH = "heard"
ASR, PRINTER = "asr", "printer"
DONE_WITHIN_S = 300.0
PROCESS = ["--set", "defaults.module.runtime=process"]


def main() -> int:
    """Run the demo; returns its exit code."""
    given = _arguments()
    overrides: list[str] = []
    if given.wav:
        wav = Path(given.wav).resolve()
        overrides += ["--set", f'modules.{ASR}.files."inputs/question.wav"="{wav}"']
    overrides += ["--set", f"streams.{ASR}.text>{PRINTER}.text.transport={given.transport}"]
    if given.transport == "shm":  # it joins modules of one host: the link would be bypassed
        overrides += ["--set", f"modules.{PRINTER}.host=phone"]
    if given.image:
        say("--image: no module of this version looks at images yet; it is not used")
    runtime = _runtime()
    say(f"runtime: {runtime}" + ("" if runtime == "docker" else " (no Docker engine answers)"))
    began = time.monotonic()
    applied = _apply(overrides + (PROCESS if runtime == "process" else []))
    if applied != 0 and runtime == "docker":
        say("the images could not be made or run: going on with the process runtime")
        _otterctl("destroy", "-m", MESH, "--yes")
        applied = _apply(overrides + PROCESS)
    if applied != 0:
        _otterctl("destroy", "-m", MESH, "--yes")
        return 1
    say(f"ready after {time.monotonic() - began:.1f} s")
    try:
        status = _wait_until_done()
    finally:
        folder = _destroy()
    return _report(status, folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--wav", metavar="FILE", help="the question, spoken (any PCM WAV)")
    parser.add_argument("--image", metavar="FILE", help="what the question is about")
    parser.add_argument(
        "--transport",
        choices=("tcp", "udp", "shm"),
        default="tcp",
        help="what carries the text; shm: both modules are on the phone",
    )
    return parser.parse_args()


def say(text: str) -> None:
    """Print a line at once, in its place among the progress of what is called."""
    print(text, flush=True)


def _otterctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `otterctl`; its progress goes to our stderr."""
    return subprocess.run(
        [OTTERCTL, *arguments], stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )


def _runtime() -> str:
    with tempfile.TemporaryFile("w+") as out:
        subprocess.run([OTTERCTL, "doctor", "--json"], stdout=out, check=False, cwd=ROOT)
        out.seek(0)
        checks = {c["name"]: c for c in json.load(out)["checks"]}
    return "docker" if checks.get("runtime docker", {}).get("ok") else "process"


def _apply(overrides: list[str]) -> int:
    done = _otterctl("apply", str(TOPOLOGY), *overrides)
    return done.returncode


def _wait_until_done() -> dict[str, Any]:
    """Follow the mesh until every module is done; returns its status."""
    deadline = time.monotonic() + DONE_WITHIN_S
    while True:
        status: dict[str, Any] = json.loads(_otterctl("status", "-m", MESH, "--json").stdout)
        states = {m["state"] for m in status["modules"]}
        if states == {"done"} or "failed" in states or time.monotonic() > deadline:
            return status
        time.sleep(0.2)


def _destroy() -> Path:
    done = _otterctl("destroy", "-m", MESH, "--yes", "--json")
    return Path(json.loads(done.stdout)["folder"])


def _report(status: dict[str, Any], folder: Path) -> int:
    logs = {m["name"]: _read(folder / "logs" / f"{m['name']}.log") for m in status["modules"]}
    heard = [line for line in logs[ASR] if line.startswith("heard: ")]
    say("")
    for line in heard:
        say(line)
    for module in status["modules"]:
        where = f"host {module['host']}, machine {status['machines'][0]['name']}"
        say(f"  {module['name']}: {where}, runtime {module['runtime']}, {module['state']}")
    for line in logs[ASR]:
        if line.endswith("of computing"):
            say(f"  time in {ASR}: {line.rpartition(', ')[2].removesuffix(' of computing')}")
    for record in _records(folder / "messages" / f"{PRINTER}.csv"):
        if record["outcome"] != "done":
            continue
        link = (float(record["received"]) - float(record["sent"])) * 1000
        work = (float(record["done"]) - float(record["taken"])) * 1000
        over = _transport(status, record["stream"])
        way = "in shared memory" if over == "shm" else f"on the link phone-edge, by {over}"
        say(f"  time {way}: {link:.2f} ms ({record['bytes']} bytes)")
        say(f"  time in {PRINTER}: {work:.2f} ms")
    say(f"  run folder: {folder}")
    if heard:
        return 0
    say("nothing was heard; the last lines of the log:")
    for line in logs[ASR][-20:]:
        say(f"  | {line}")
    return 1


def _transport(status: dict[str, Any], stream: str) -> str:
    """What really carried it, by the agent's word."""
    used = {s["name"]: s["transport"] for s in status["streams"]}
    return used.get(stream, "?")


def _read(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _records(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(_read(path)))


if __name__ == "__main__":
    sys.exit(main())
