"""How cost grows with machines: 10 to 1,000 fake ones with ten modules each, by whole commands.

    agents      `otter-agent fake N`: real but for their drivers, a process for each processor
    otterctl    plan, apply, status, apply again, destroy, each from start to exit

    python -m benchmarks.scale 10 100 [--write docs]   some sizes; --write draws the picture

The controller's cost is processor time: the machine may be busy, and agents share its cores here,
which they don't elsewhere. The mesh is a tree: every 25 machines share one, whose links lead to the
first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.row import NotHere, Row

SIZES = (10, 100, 300, 1000)
MODULES = 10
FAN = 25
VERBS = ("plan", "apply", "status", "again", "destroy")
GOALS_S = {"plan": 3.0, "apply": 15.0, "status": 2.0}
MEMORY_GOAL_B = 1_000_000_000
FLAT = 1.25
"""What a machine costs among a thousand, over what it costs among a hundred."""
FEW, TIMES = 100, 3
"""Up to so few machines are measured so often: what one costs is a small difference there."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took.

    Attributes:
        wall_s: From start to exit.
        cpu_s: Of the controller.
        agents_s: Of all agents meanwhile, processor time.
        peak_bytes: Most resident memory of the controller.
    """

    wall_s: float
    cpu_s: float
    agents_s: float
    peak_bytes: int


def rows() -> list[Row]:
    """The goals at 1,000 machines, and how a machine's cost grows up to there."""
    otterctl = Path(sys.executable).with_name("otterctl")
    if not otterctl.exists():
        raise NotHere(f"no {otterctl}: make setup")
    costs = {size: middle(size) for size in SIZES}
    most = costs[SIZES[-1]]
    name = f"{SIZES[-1]:,} fake machines, {SIZES[-1] * MODULES:,} modules"
    found = [
        _row(f"{name}: otterctl {verb}", "s", most[verb].wall_s, GOALS_S.get(verb), most[verb])
        for verb in VERBS
    ]
    peak = max(cost.peak_bytes for cost in most.values())
    found.append(_row(f"{name}: plan, resident", "B", most["plan"].peak_bytes, MEMORY_GOAL_B))
    found.append(_row(f"{name}: largest of all verbs, resident", "B", peak, None))
    for verb in VERBS:
        what = f"otterctl {verb}: CPU of a machine, up to 1,000 over up to 100"
        found.append(_row(what, "1", growth(costs, verb), FLAT))
    return found


def _row(name: str, unit: str, ours: float, goal: float | None, cost: Cost | None = None) -> Row:
    row: Row = {
        "name": name, "unit": unit, "better": "lower", "ours": ours, "peers": {},
        "limit": None, "goal": goal, "n": 1,
    }  # fmt: skip
    if cost is not None:
        row["note"] = f"CPU: controller {cost.cpu_s:.2f} s, all agents {cost.agents_s:.2f} s"
    return row


def growth(costs: dict[int, dict[str, Cost]], verb: str) -> float:
    """What a machine costs the controller among many, over what it costs among fewer.

    Besides what a command takes with the fewest, most of which is starting; 1: it is flat.
    """
    few, more, *_, most = sorted(costs)

    def each(size: int) -> float:
        return (costs[size][verb].cpu_s - costs[few][verb].cpu_s) / (size - few)

    return each(most) / each(more)


def middle(machines: int) -> dict[str, Cost]:
    """Every verb on so many machines: where they are few the middle one of some runs."""
    runs = [measure(machines) for _ in range(TIMES if machines <= FEW else 1)]
    by_cpu = {verb: sorted((run[verb] for run in runs), key=lambda c: c.cpu_s) for verb in VERBS}
    return {verb: costs[len(costs) // 2] for verb, costs in by_cpu.items()}


def measure(machines: int) -> dict[str, Cost]:
    """Every verb once, on so many fresh machines."""
    with fakes(machines) as (folder, site, agents):
        file = folder / "topology.toml"
        file.write_text(topology(machines))
        start = [str(Path(sys.executable).with_name("otterctl")), "--runs", str(folder / "runs")]
        words = {
            "plan": ["plan", str(file), "--site", str(site)],
            "apply": ["apply", str(file), "--site", str(site)],
            "status": ["status", "--site", str(site)],
            "again": ["apply", str(file), "--site", str(site)],
            "destroy": ["destroy", "--yes", "--no-fetch", "--site", str(site)],
        }
        return {verb: _cost([*start, *words[verb]], agents, folder) for verb in VERBS}


@contextmanager
def fakes(machines: int) -> Iterator[tuple[Path, Path, int]]:
    """Fake machines; gives a scratch folder, the site file and the agents' pid."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a thousand databases
    command = [str(Path(sys.executable).with_name("otter-agent")), "fake", str(machines)]
    with tempfile.TemporaryDirectory(
        prefix="otter-sc-", dir=memory, ignore_cleanup_errors=True
    ) as made:
        folder = Path(made)
        child = subprocess.Popen(
            [*command, "--root", str(folder / "m")],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert child.stdout is not None
            if not child.stdout.readline():
                raise RuntimeError("otter-agent fake didn't start")
            yield folder, folder / "m" / "site.toml", child.pid
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(60)


def _cost(command: Sequence[str], agents: int, folder: Path) -> Cost:
    before, begun = _cpu_s(agents), time.perf_counter()
    with (folder / "said").open("wb") as said:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command}: {(folder / 'said').read_text()[-2000:]}")
    used_s = used.ru_utime + used.ru_stime
    return Cost(wall_s, used_s, _cpu_s(agents) - before, used.ru_maxrss * 1024)


def _cpu_s(pid: int) -> float:
    """Of a process and those that it has started."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            name, _, rest = stat.read_text().rpartition(")")
            fields = rest.split()
            if int(name.split()[0]) == pid or int(fields[1]) == pid:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / float(os.sysconf("SC_CLK_TCK"))


def topology(machines: int) -> str:
    """A tree of hosts, one a machine, with ten modules each."""
    lines = ['name = "scale"', "[defaults.module]", 'runtime = "fake"']
    lines += [f'[hosts.h{n}]\nmachine = "fake{n}"' for n in range(1, machines + 1)]
    for n in range(2, machines + 1):
        above = 1 if n % FAN == 1 else (n - 1) // FAN * FAN + 1
        lines.append(f'[[links]]\nbetween = ["h{above}", "h{n}"]\ndelay = "5ms"\nrate = "50mbit"')
    lines += [f'[modules.m{n}]\nhost = "h*"\ncommand = ["sleep"]' for n in range(MODULES)]
    return "\n".join(lines) + "\n"


def picture(costs: dict[int, dict[str, Cost]]) -> str:
    """Costs against machines, as SVG."""
    from benchmarks.plots import Line, Panel, svg

    sizes = sorted(costs)

    def panel(title: str, unit: str, field: str, scale: float = 1.0) -> Panel:
        lines = [
            Line(verb, "ours", sizes, [getattr(costs[n][verb], field) * scale for n in sizes])
            for verb in VERBS
        ]
        return Panel(title, "machines, ten modules each", unit, lines, log="xy")

    return svg(
        [
            panel("From start to exit", "s", "wall_s"),
            panel("Processor time of otterctl", "s", "cpu_s"),
            panel("Processor time of all agents", "s", "agents_s"),
            panel("Most memory of otterctl", "MB", "peak_bytes", 1e-6),
        ]
    )


def main() -> None:
    """Some sizes, as JSON, and the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES), metavar="N")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="draw reference/scaling.svg")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    costs = {size: middle(size) for size in given.sizes}
    print(
        json.dumps({n: {v: asdict(c) for v, c in by.items()} for n, by in costs.items()}, indent=1)
    )
    if given.write:
        (given.write / "reference" / "scaling.svg").write_text(picture(costs))


if __name__ == "__main__":
    main()
