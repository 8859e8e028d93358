"""A spoken question about a picture, answered aloud: `make demo`, ARGS='--wav FILE --image FILE'.

Applies topologies/use-case-1.toml with the installed `otterctl`, and tells what was heard, what was
answered, and where the time went; then asks again with a link squeezed. In containers where a
Docker engine answers; as processes where none does, or where its images can't be made. Ctrl-C, or
SIGTERM, removes the mesh as well.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from examples.timeline import Query, table

ROOT = Path(__file__).resolve().parent.parent
TOPOLOGY = ROOT / "topologies" / "use-case-1.toml"
OTTERCTL = Path(sys.executable).with_name("otterctl")
MESH = "use-case-1"
EAR, EYE, MOUTH = "speech_to_text", "image_analysis", "text_to_speech"
QUESTION, PICTURE = (ROOT / "examples" / "data" / name for name in ("question.wav", "chelsea.png"))
LINK, SQUEEZED = "radio", ("--delay", "300ms", "--rate", "64kbit")
ANSWERED_WITHIN_S = 120.0
PROCESS = ["--set", "defaults.module.runtime=process"]


class DemoError(Exception):
    """It didn't work; the message says what."""


def main() -> int:
    """Run the demo; returns its exit code."""
    given = _arguments()
    wav, image = Path(given.wav or QUESTION).resolve(), Path(given.image or PICTURE).resolve()
    if missing := [str(path) for path in (wav, image) if not path.is_file()]:
        say(f"no such file: {', '.join(missing)}")
        return 2
    overrides = [
        "--set", f"modules.{EAR}.files={{}}",  # it is asked when all are ready
        "--set", f'modules.{EYE}.files={{"inputs/{image.name}"="{image}"}}',
        "--set", f"streams.{EAR}.text>{EYE}.question.transport={given.transport}",
    ]  # fmt: skip
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        return _demonstrated(wav, overrides)
    except KeyboardInterrupt:
        say("demo: interrupted")
        if any(one["mesh"] == MESH for one in json.loads(_otterctl("ls", "--json").stdout or "[]")):
            _otterctl("destroy", "-m", MESH, "--yes")
        return 130


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _demonstrated(wav: Path, overrides: list[str]) -> int:
    """All of it; returns its exit code."""
    runtime = _runtime()
    say(f"runtime: {runtime}" + ("" if runtime == "docker" else " (no Docker engine answers)"))
    began = time.monotonic()
    if not _applied(overrides, runtime):
        _otterctl("destroy", "-m", MESH, "--yes")
        return 1
    say(f"ready after {time.monotonic() - began:.1f} s")
    for fact in _facts():
        say(f"  {fact}")
    queries: list[Query] = []
    try:
        _show(wav, queries)
    except DemoError as exc:
        say(f"demo: {exc}")
    finally:
        folder = _destroy()
    return _report(queries, folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--wav", metavar="FILE", help="the question, spoken (any PCM WAV)")
    parser.add_argument("--image", metavar="FILE", help="the picture that it is about")
    parser.add_argument(
        "--transport", choices=("tcp", "udp"), default="tcp", help="what carries the question"
    )
    return parser.parse_args()


def say(text: str) -> None:
    """Print a line at once, in its place among the progress of what is called."""
    print(text, flush=True)


def _otterctl(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `otterctl`; its progress goes to our stderr."""
    return subprocess.run(
        [OTTERCTL, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )


def _runtime() -> str:
    with tempfile.TemporaryFile("w+") as out:
        subprocess.run([OTTERCTL, "doctor", "--json"], stdout=out, check=False, cwd=ROOT)
        out.seek(0)
        checks = {c["name"]: c for c in json.load(out)["checks"]}
    return "docker" if checks.get("runtime docker", {}).get("ok") else "process"


def _applied(overrides: list[str], runtime: str) -> bool:
    """Whether the mesh is there, on this runtime or at least on the other."""
    more = PROCESS if runtime == "process" else []
    if _otterctl("apply", TOPOLOGY, *overrides, *more).returncode == 0:
        return True
    if runtime == "process":
        return False
    say("the images could not be made or run: going on with the process runtime")
    _otterctl("destroy", "-m", MESH, "--yes")
    return _otterctl("apply", TOPOLOGY, *overrides, *PROCESS).returncode == 0


def _facts() -> list[str]:
    """Where each module runs."""
    status: dict[str, Any] = json.loads(_otterctl("status", "-m", MESH, "--json").stdout)
    (machine,) = (one["name"] for one in status["machines"])
    return [
        f"{module['name']}: host {module['host']}, machine {machine}, runtime {module['runtime']}"
        for module in status["modules"]
    ]


def _show(wav: Path, queries: list[Query]) -> None:
    """The question, twice; fills `queries` as they are answered."""
    with _log() as lines:
        _ask(wav, "question.wav")
        queries.append(_answered(lines, "as it is"))
        say("")
        say(f"heard: {queries[0].heard}")
        say(f"answer: {queries[0].answer}")
        say("")
        say(f"the same with link {LINK} squeezed: otterctl shape link {LINK} {' '.join(SQUEEZED)}")
        if _otterctl("shape", "link", LINK, "-m", MESH, *SQUEEZED).returncode:
            raise DemoError(f"link {LINK} could not be shaped")
        _ask(wav, "again.wav")
        queries.append(_answered(lines, f"{LINK} squeezed"))


def _ask(wav: Path, name: str) -> None:
    """Speak into the phone."""
    if _otterctl("cp", "-m", MESH, wav, f"{EAR}:inputs/{name}").returncode:
        raise DemoError("the question could not be asked")


def _answered(lines: Iterator[tuple[str, str]], title: str) -> Query:
    """Wait until a question has been answered aloud."""
    query = Query(title)
    for module, text in lines:
        if text.startswith("can't hear"):  # nothing will come of it
            raise DemoError(f"{module}: {text}")
        query.note(module, text)
        if module == MOUTH and text.startswith("said: "):
            break
    else:
        raise DemoError(f"no answer within {ANSWERED_WITHIN_S:.0f} s")
    deadline = time.monotonic() + 30  # records are written 0.2 s later; asking takes longer
    while time.monotonic() < deadline:
        found = _otterctl("trace", query.id, "-m", MESH, "--json")
        query.hops = json.loads(found.stdout)["messages"] if found.returncode == 0 else []
        if len(query.hops) >= 2:
            return query
        time.sleep(0.2)
    raise DemoError(f"no records of message {query.id}")


@contextmanager
def _log() -> Iterator[Iterator[tuple[str, str]]]:
    """What modules print, (module, line), from the beginning and as it comes."""
    command = [str(OTTERCTL), "logs", "-m", MESH, "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield lines(process)
        finally:
            process.terminate()


def lines(process: subprocess.Popen[bytes]) -> Iterator[tuple[str, str]]:
    """What `otterctl logs --json` prints: (module, line). Ends when nothing comes for too long."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(ANSWERED_WITHIN_S):
            if not (block := os.read(process.stdout.fileno(), 65536)):
                return
            *whole, rest = (rest + block).split(b"\n")
            for line in map(json.loads, whole):
                yield line["module"], line["text"]


def _destroy() -> Path:
    done = _otterctl("destroy", "-m", MESH, "--yes", "--json")
    return Path(json.loads(done.stdout)["folder"])


def _report(queries: list[Query], folder: Path) -> int:
    say("")
    for line in table(queries):
        say(line)
    spoken = sorted((folder / "outputs" / MOUTH).rglob("*.wav"))
    if spoken:
        say(f"\nspoken answer: {spoken[0]}")
    say(f"run folder: {folder}")
    if len(queries) == 2 and spoken:
        return 0
    say("not all was answered; the last lines of the logs:")
    for log in sorted((folder / "logs").glob("*.log")):
        for text in log.read_text(errors="replace").splitlines()[-8:]:
            say(f"  {log.stem} | {text}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
