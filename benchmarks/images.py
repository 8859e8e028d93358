"""An image to another machine: `otterctl image send` beside `docker save | ssh | docker load`.

Two machines of a lab, each with an engine of its own. Both ways lead through this computer, as
otterctl holds a connection to either machine: `ssh lab1 docker save | ssh lab2 docker load` is
given the same. The image is noise, which nothing can compress, but for its last layer, of which one
line is changed. `OTTER_BENCH_IMAGE_MB` is its size (200; 1000 where the machine is calm).
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.row import NotHere, Row

RUNS = 3
MEGABYTES = int(os.environ.get("OTTER_BENCH_IMAGE_MB", "200"))
GOAL_SHARE = 0.02
GOAL_TIMES = 5
OURS = "otterctl image send"
PEER = "docker save | ssh | docker load"
GZIP = "docker save | gzip -1 | ssh | docker load"
_ROOT = Path(__file__).parent.parent
_BASE = (
    "mkdir -p /tmp/x && cp /bin/busybox /tmp/x && cd /tmp/x && for n in 1 2 3 4; do"
    " head -c {part} /dev/urandom > noise$n; done && tar -c busybox | docker import - bench:base"
    " && printf 'FROM bench:base\\nCOPY noise1 /\\nCOPY noise2 /\\nCOPY noise3 /\\nCOPY noise4 /\\n"
    'CMD ["/busybox"]\\n\' > Dockerfile && docker build -q -t bench:noise . && rm noise*'
)
_CODE = (
    "rm -rf /tmp/c && mkdir /tmp/c && cd /tmp/c && for i in $(seq 300); do"
    ' echo "line $i of a module\'s code"; done > code.py'
    " && echo 'line {number} is another' >> code.py"
    " && printf 'FROM bench:noise\\nCOPY code.py /\\n' > Dockerfile"
    " && docker build -q -t bench:{number} ."
)


def rows() -> list[Row]:
    """One lab for all of it."""
    sys.path.insert(0, str(_ROOT / "tests"))
    labs = importlib.import_module("helpers.labs")
    if why := labs.unavailable():
        raise NotHere(why)
    if not shutil.which("dockerd"):
        raise NotHere("no dockerd")
    with labs.new_folder() as folder:
        lab = importlib.import_module("otter_ctl.lab.lab").Lab(folder)
        lab.up(2, layers=labs.layers())
        return _Bench(lab, labs).rows()


class _Bench:
    def __init__(self, lab: Any, labs: Any) -> None:
        self.lab = lab
        self.labs = labs

    def rows(self) -> list[Row]:
        self.ssh("lab1", _BASE.format(part=MEGABYTES * 250_000))
        self.ssh("lab1", _CODE.format(number=0))
        first: dict[str, list[float]] = {OURS: [], PEER: []}
        for _ in range(2):
            self.forget("bench:0", "bench:noise")
            first[PEER].append(self.piped("bench:0"))
            self.forget("bench:0", "bench:noise")
            first[OURS].append(self.ours("bench:0")[0])
        size = float(self.ssh("lab1", "docker image inspect -f '{{.Size}}' bench:0"))
        ours: list[tuple[float, int]] = []
        peers: dict[str, list[float]] = {PEER: [], GZIP: []}
        for number in range(1, RUNS + 1):
            tag = f"bench:{number}"
            self.ssh("lab1", _CODE.format(number=number))
            peers[PEER].append(self.piped(tag))
            self.forget(tag)
            peers[GZIP].append(self.piped(tag, "gzip -1 |"))
            self.forget(tag)
            ours.append(self.ours(tag))
        return _as_rows(size, first, ours, peers)

    def ssh(self, name: str, command: str) -> str:
        argv = self.lab.ssh(name, command)
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout} {done.stderr}")
        return done.stdout.strip()

    def forget(self, *tags: str) -> None:
        """On the receiver; layers that another image there has stay."""
        self.ssh("lab2", f"docker rmi -f {' '.join(tags)} >/dev/null 2>&1; true")

    def ours(self, tag: str) -> tuple[float, int]:
        """How long it took, and what was sent."""
        argv = [self.labs.BIN / "otterctl", "image", "send", tag, "--json",
                *("--from", "lab1", "--to", "lab2")]  # fmt: skip
        env = {**os.environ, "OTTER_LAB": str(self.lab.folder.path)}
        began = time.monotonic()
        done = subprocess.run(argv, env=env, capture_output=True, check=True)
        took = time.monotonic() - began
        return took, json.loads(done.stdout)[0]["sent_bytes"]

    def piped(self, tag: str, between: str = "") -> float:
        """How long engines' own way takes."""
        unpack = "gzip -d |" if between else ""
        save = self.lab.ssh("lab1", f"docker save {tag} | {between} cat")
        load = self.lab.ssh("lab2", f"{unpack} docker load -q")
        began = time.monotonic()
        with subprocess.Popen(save, stdout=subprocess.PIPE) as saving:
            subprocess.run(load, stdin=saving.stdout, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began


def _as_rows(
    size: float,
    first: dict[str, list[float]],
    ours: list[tuple[float, int]],
    peers: dict[str, list[float]],
) -> list[Row]:
    took = statistics.median(t for t, _ in ours)
    others = {name: statistics.median(times) for name, times in peers.items()}
    whole = f"{size / 1e6:.0f} MB"
    return [
        Row(
            name=f"one changed line in an image of {whole}: share of its bytes that is sent",
            unit="1", better="lower", ours=statistics.median(b for _, b in ours) / size,
            peers={PEER: 1.0}, limit=None, goal=GOAL_SHARE, n=len(ours),
        ),
        Row(
            name=f"one changed line in an image of {whole}: until the other machine has it",
            unit="s", better="lower", ours=took, peers=others, limit=None,
            goal=others[PEER] / GOAL_TIMES, n=len(ours),
        ),
        Row(
            name=f"an image of {whole} to a machine that has nothing of it",
            unit="s", better="lower",
            ours=statistics.median(first[OURS]),
            peers={PEER: statistics.median(first[PEER])}, limit=None, goal=None, n=2,
        ),
    ]  # fmt: skip
