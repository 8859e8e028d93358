"""Turns of a device that modules share (`net.lease()`): by weight, what one costs, a killed holder.

The device is a processor: each turn computes for STEP_S. Each module notes when its turns began and
ended, so that what it had isn't what the arbiter says it had. What a turn costs is all the time
between turns, by the number of turns: also where they change hands, and what noting takes, which is
a store in memory that a file shows. The limit of one alone is the same without turns; of two, two
processes that hand each other a byte by a pipe, as often as turns change hands.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.mesh import agent, run
from benchmarks.row import NotHere, Row

STEP_S = 0.01
SHARED_S = 20.0
ALONE_S = 4.0
SETTLE_S = 1.0
WINDOW_S = 1.0
"""Of time, in which a new share is looked for."""
SHARE, ANOTHER = 0.75, 0.25
WITHIN = 0.03
IN_FORCE_GOAL_S = 1.0
COST_GOAL = 0.01
FREED_GOAL_S = 1.0
STOPPED_S = 0.2
"""Nobody has a turn for so long only if its holder was stopped in it."""
TRIES = 50
BARE_STEPS = 400
HANDOVERS = 50
_BYTES = 1 << 18
"""Of a module's notes: turns of two minutes and more."""
_LOOP = f"""
import mmap, time

def note(turn, most):
    clock = time.monotonic
    with open("steps", "wb+") as file:
        file.write(bytes({_BYTES}))
        file.flush()
        noted = memoryview(mmap.mmap(file.fileno(), {_BYTES})).cast("d")
    for at in range(0, 2 * most, 2):
        with turn:
            began = now = clock()
            while now - began < {STEP_S}:
                now = clock()
        noted[at], noted[at + 1] = began, now
"""
STEPS = _LOOP + f"import net\nnote(net.lease(), {_BYTES // 16})\n"
_BARE = _LOOP + f"import contextlib\nnote(contextlib.nullcontext(), {BARE_STEPS})\n"
_HANDED = (
    _LOOP
    + """
import os, sys

class Turn:
    def __init__(self, mine, others, several, left):
        self.mine, self.others, self.several, self.left = mine, others, several, left

    def __enter__(self):
        if not self.left:
            os.read(self.mine, 1)
            self.left = self.several

    def __exit__(self, *_):
        self.left -= 1
        if not self.left:
            os.write(self.others, b"x")

one, other, hands = map(int, sys.argv[1:])
(ask, asked), (answer, answered) = os.pipe(), os.pipe()
child = os.fork()
os.mkdir(name := "one" if child else "other")
os.chdir(name)
if child:
    note(Turn(ask, answered, one, one), one * hands)
    os.waitpid(child, 0)
else:
    note(Turn(answer, asked, other, 0), other * hands)
"""
)

Steps = NDArray[np.float64]
"""[n, 2]: when each turn began and ended."""


def rows() -> list[Row]:
    """Shares over 20 s, how soon another holds, and what a turn costs, alone and with another."""
    if os.geteuid() != 0:
        raise NotHere("needs root")
    with agent() as (otterctl, folder):
        (folder / "steps.py").write_text(STEPS)
        file = folder / "turns.toml"
        file.write_text(topology("a"))
        run(otterctl, "apply", str(file))
        time.sleep(ALONE_S)
        file.write_text(topology("a", "b"))
        run(otterctl, "apply", str(file))
        time.sleep(SETTLE_S)
        began = time.monotonic()
        time.sleep(SHARED_S)
        changed = time.monotonic()
        others = [f"modules.{m}.gpu.share={s:.0%}" for m, s in (("a", ANOTHER), ("b", SHARE))]
        took = run(otterctl, "apply", str(file), *(w for one in others for w in ("--set", one)))
        time.sleep(2 * WINDOW_S + SETTLE_S)
        one, other = (_steps(otterctl, folder, module) for module in "ab")
        killed = _kill_holder(otterctl, holder="b", other="a")
        time.sleep(SETTLE_S)
        freed = first_after(_steps(otterctl, folder, "a"), killed)
        shared = share(one, other, began, began + SHARED_S)
        both = within(one, other, began, changed)
        several = in_a_row(*(x[(x[:, 0] >= began) & (x[:, 1] <= changed)] for x in (one, other)))
        return [
            *_shared_rows(shared, in_force(one, other, changed, ANOTHER), took),
            _cost_row("alone", one[one[:, 1] < other[0, 0]], _bare(folder)),
            _cost_row(
                "with another that wants turns",
                both,
                _handed(folder, several),
                f"; {several[0]} and {several[1]} turns in a row, as here",
            ),
            _freed_row(freed),
        ]


def _shared_rows(part: float, in_force_s: float, took: float) -> list[Row]:
    return [
        Row(
            name=f"turns, weights 3:1 over {SHARED_S:.0f} s: error of the larger share", unit="1",
            better="lower", ours=abs(part - SHARE), peers={}, limit=0.0, goal=WITHIN, n=1,
            note=f"{part:.2%} of the time that both had",
        ),
        Row(
            name="… another share in force, from the command's start", unit="s", better="lower",
            ours=in_force_s, peers={}, limit=None, goal=IN_FORCE_GOAL_S, n=1,
            note=f"the command took {took:.2f} s",
        ),
    ]  # fmt: skip


def _cost_row(which: str, steps: Steps, limit: Steps, more: str = "") -> Row:
    ours_us, limit_us = _median_us(steps), _median_us(limit)
    return Row(
        name=f"… a turn's cost, by a step of 10 ms, {which}", unit="1", better="lower",
        ours=cost(steps), peers={}, limit=cost(limit), goal=COST_GOAL, n=len(steps),
        note=f"the median {ours_us:.0f} us, of the limit {limit_us:.0f} us{more}",
    )  # fmt: skip


def _freed_row(freed_s: float) -> Row:
    return Row(
        name="… a holder killed -9: until the other's turn", unit="s", better="lower",
        ours=freed_s, peers={}, limit=None, goal=FREED_GOAL_S, n=1,
    )  # fmt: skip


def _median_us(steps: Steps) -> float:
    return float(np.median(between(steps))) * 1e6


def topology(*modules: str) -> str:
    """Modules that want all they can get of one device; `a` has three quarters."""
    command = json.dumps([sys.executable, "steps.py"])
    parts = ['name = "turns"\n[defaults.module]\nruntime = "process"\n[hosts.edge]\n']
    for name, part in zip(modules, (SHARE, ANOTHER), strict=False):
        parts.append(
            f'[modules.{name}]\nhost = "edge"\nfiles = {{ "steps.py" = "steps.py" }}\n'
            f'command = {command}\ngpu = {{ share = "{part:.0%}" }}\n'
        )
    return "".join(parts)


def _steps(otterctl: list[str], folder: Path, module: str) -> Steps:
    file = folder / f"{module}.steps"
    run(otterctl, "cp", f"{module}:steps", str(file))
    return noted(file)


def noted(file: Path) -> Steps:
    """What a module has noted so far."""
    steps = np.fromfile(file, np.float64).reshape(-1, 2)
    return steps[steps[:, 1] > 0]


def had(steps: Steps, begin: float, end: float) -> float:
    """Seconds of turns between two moments."""
    return float((steps.clip(begin, end) @ (-1.0, 1.0)).sum())


def share(one: Steps, other: Steps, begin: float, end: float) -> float:
    """What one had of what both had."""
    mine, its = had(one, begin, end), had(other, begin, end)
    return mine / max(mine + its, 1e-9)


def in_force(one: Steps, other: Steps, since: float, wanted: float) -> float:
    """How long it took until the following second was shared as wanted; infinite: it never was."""
    for late in np.arange(0.0, one[-1, 1] - WINDOW_S - since, STEP_S):
        begin = since + late
        if abs(share(one, other, begin, begin + WINDOW_S) - wanted) <= WITHIN:
            return float(late)
    return float("inf")


def within(one: Steps, other: Steps, begin: float, end: float) -> Steps:
    """All turns that lie between two moments, in order."""
    both = np.concatenate([one, other])
    both = both[(both[:, 0] >= begin) & (both[:, 1] <= end)]
    return both[both[:, 0].argsort()]


def between(steps: Steps) -> NDArray[np.float64]:
    """The time between one turn and the next."""
    return steps[1:, 0] - steps[:-1, 1]


def cost(steps: Steps) -> float:
    """The time between two turns, by that of a step: the mean."""
    return float(between(steps).mean()) / STEP_S


def first_after(steps: Steps, moment: float) -> float:
    """How long it took until the next turn began; infinite: none did."""
    return float(min(steps[steps[:, 0] > moment, 0] - moment, default=float("inf")))


def _bare(folder: Path) -> Steps:
    """The same loop, without turns, in a process of its own as well."""
    subprocess.run([sys.executable, "-c", _BARE], cwd=folder, check=True)
    return noted(folder / "steps")


def in_a_row(one: Steps, other: Steps) -> tuple[int, int]:
    """How many turns each had in a row, in the mean."""
    begun = np.concatenate([one[:, 0], other[:, 0]])
    whose = np.repeat([0, 1], [len(one), len(other)])[begun.argsort()]
    hands = 1 + int(np.count_nonzero(np.diff(whose)))
    return max(1, round(2 * len(one) / hands)), max(1, round(2 * len(other) / hands))


def _handed(folder: Path, several: tuple[int, int]) -> Steps:
    """Turns of two processes, which hand them to each other after several."""
    words = map(str, (*several, HANDOVERS))
    subprocess.run([sys.executable, "-c", _HANDED, *words], cwd=folder, check=True)
    one, other = noted(folder / "one" / "steps"), noted(folder / "other" / "steps")
    return within(one, other, one[0, 0], other[-1, 1])


def _kill_holder(otterctl: list[str], holder: str, other: str) -> float:
    """Kill a module in its turn; when that was.

    Raises:
        RuntimeError: It never had one.
    """
    status = [*otterctl, "status", "-m", "turns", "--json"]
    told = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    pids = {module["name"]: module["pid"] for module in json.loads(told)["modules"]}
    its = Path(f"/proc/{pids[other]}/cwd/steps")
    for _ in range(TRIES):
        os.kill(pids[holder], signal.SIGSTOP)
        time.sleep(2 * STEP_S)  # the other's own turn has ended, if it had one
        before = len(noted(its))
        time.sleep(STOPPED_S)
        if len(noted(its)) == before:
            break
        os.kill(pids[holder], signal.SIGCONT)
        time.sleep(STEP_S)
    else:
        raise RuntimeError(f"module {holder} was never stopped in a turn of its own")
    moment = time.monotonic()
    os.kill(pids[holder], signal.SIGKILL)
    return moment
