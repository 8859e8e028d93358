"""Use case 1 while it is measured: applied, asked, and what its records, logs and links tell.

It is the mesh of `make demo`, on the machine's own agent (`OTTER_ROOT` names another): what was
built for the demo is not built again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.afterwards import afterwards, scratch, tied
from benchmarks.row import NotHere
from examples.demo import EAR, EYE, MESH, MOUTH, QUESTION, ROOT, TOPOLOGY, lines
from examples.timeline import Query

OTTERCTL = Path(sys.executable).with_name("otterctl")
MODULES = (EAR, EYE, MOUTH)
DELAYS_S = {EAR: 0.02, EYE: 0.005}
"""Of the links over which these send, as the topology asks for them."""
SHAPING = ("delay", "jitter", "loss", "rate", "reverse")
RECORDED_WITHIN_S = 10.0


class UseCase:
    """The mesh, once all modules are ready.

    Attributes:
        command: The `otterctl` command line, without a verb.
        apply_s: How long the command took that made it.
        ready: When it had, seconds of `time.perf_counter`.
        first_s: From then to the first answer, the asking included.
    """

    def __init__(self, otterctl: list[str], apply_s: float) -> None:
        self.command = otterctl
        self.apply_s = apply_s
        self.ready = time.perf_counter()
        self.first_s = 0.0

    def otterctl(self, *words: object) -> str:
        """What a verb prints."""
        return run(self.command, *words)

    def status(self) -> Any:
        """`status --json`."""
        return json.loads(self.otterctl("status", "-m", MESH, "--json"))

    def ask(
        self, count: int, then: Callable[[Query], None] = lambda query: None
    ) -> list[tuple[Query, float]]:
        """The question, so many times one after the other; each with when the recording was there.

        Call it once: it reads logs from the beginning.

        Args:
            count: How many times.
            then: Called after each answer, before the next question.
        """
        names = [f"inputs/asked-{number}.wav" for number in range(count)]
        command = [*self.command, "logs", "-m", MESH, "--follow", "--json"]
        with subprocess.Popen(tied(command), stdout=subprocess.PIPE, cwd=ROOT) as process:
            try:
                said = lines(process)
                queries = [self._asked(name, said, then) for name in names]
            finally:
                process.terminate()
        for query in queries:
            query.hops = self._hops(query.id)
        stat = ["stat", "--format", "%.9Z", *names]
        times = self.otterctl("exec", "-m", MESH, EAR, "--", *stat).split()
        return [*zip(queries, map(float, times), strict=True)]

    def _asked(
        self, name: str, said: Iterator[tuple[str, str]], then: Callable[[Query], None]
    ) -> Query:
        self.otterctl("cp", "-m", MESH, QUESTION, f"{EAR}:{name}")
        query = Query(name)
        for module, text in said:
            query.note(module, text)
            if module == MOUTH and text.startswith("said: "):
                break
        else:
            raise RuntimeError(f"{name} was not answered")
        self.first_s = self.first_s or time.perf_counter() - self.ready
        then(query)
        return query

    def _hops(self, message: str) -> list[dict[str, Any]]:
        """A query's messages, once both are recorded."""
        deadline = time.monotonic() + RECORDED_WITHIN_S
        while time.monotonic() < deadline:
            command = [*self.command, "trace", message, "-m", MESH, "--json"]
            done = subprocess.run(tied(command), capture_output=True, text=True, check=False)
            hops = json.loads(done.stdout)["messages"] if done.returncode == 0 else []
            if len(hops) == len(MODULES) - 1 and all(hop["done"] for hop in hops):
                return list(hops)
            time.sleep(0.2)
        raise RuntimeError(f"no records of message {message}")


@contextmanager
def use_case(*settings: str, unshaped: bool = False) -> Iterator[UseCase]:
    """Use case 1, with nothing asked so far; gone afterwards.

    Args:
        settings: Keys of the topology, as `--set` takes them.
        unshaped: Its links are plain wires.
    """
    with scratch() as folder:
        file = plain(folder) if unshaped else TOPOLOGY
        with applied(MESH, file, f"modules.{EAR}.files={{}}", *settings) as (otterctl, took_s):
            yield UseCase(otterctl, took_s)


@contextmanager
def applied(mesh: str, file: Path, *settings: str) -> Iterator[tuple[list[str], float]]:
    """A mesh in processes, gone afterwards, also if this process is killed.

    Gives the `otterctl` command line, and how long it took to be ready. What is built for it is
    told on stderr.
    """
    if os.geteuid() != 0:
        raise NotHere("needs root")
    if any(one["mesh"] == mesh for one in json.loads(run([str(OTTERCTL)], "ls", "--json") or "[]")):
        raise NotHere(f"mesh {mesh} runs already: otterctl destroy -m {mesh}")
    with scratch() as folder:
        otterctl = [str(OTTERCTL), "--runs", str(folder)]
        destroy = [*otterctl, "destroy", "-m", mesh, "--yes", "--no-fetch"]
        sets = ("defaults.module.runtime=process", *settings)
        with afterwards(lambda: _quietly(destroy)):
            began = time.perf_counter()
            words = (word for one in sets for word in ("--set", one))
            run(otterctl, "apply", file, *words, show=True)
            yield otterctl, time.perf_counter() - began


def _quietly(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=False)


def plain(folder: Path) -> Path:
    """The topology without what its links are asked for."""
    text = TOPOLOGY.read_text().replace('"../', f'"{ROOT}/')
    kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in SHAPING]
    file = folder / "plain.toml"
    file.write_text("\n".join(kept) + "\n")
    return file


def run(otterctl: list[str], *words: object, show: bool = False) -> str:
    """What a verb prints.

    Args:
        otterctl: The command line so far.
        words: What follows.
        show: Its progress goes to stderr.

    Raises:
        RuntimeError: It failed.
    """
    command = tied([*otterctl, *map(str, words)])
    errors = None if show else subprocess.PIPE
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        why = (done.stderr or "see above").strip()[-2000:]
        raise RuntimeError(f"{' '.join(map(str, words))}: {why}")
    return done.stdout
