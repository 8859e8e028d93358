"""Several machines: links between them, and bringing a mesh to them. On machines of a lab.

- A link by VXLAN and over UDP between two of them, one TCP connection, beside a VXLAN made by hand
  in the same two machines, turn by turn: from machine to machine, and from a namespace behind a
  router's to another, as modules have it.
- 80 process modules on 8 machines, applied, beside the same 80 on one: where no mesh was for a
  while, so that every agent has to start what carries its links, and right after another one; and
  applied again.
- One mesh packed on one machine and spread over three: messages' latencies, of processes and of
  containers, where there is an engine.

All machines share this computer's cores and kernel: ratios are what counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.row import NotHere, Row
from benchmarks.unpacked import layers
from otter_agent.images.bases import find_base
from otter_agent.images.rootfs import SUITE, make_root_tar

OTTERCTL = Path(sys.executable).with_name("otterctl")
TURNS = 5
SECONDS = 1.0
"""Of one TCP connection."""
MACHINES, MODULES = 8, 80
APPLIES = 3
MESSAGES, EVERY_S = 400, 0.005
_MTU = 1450

_SINK = """
import socket, sys, time
with socket.create_server((sys.argv[1], 9000)) as listener:
    print("listens", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            got, begun = 0, time.perf_counter()
            buffer = bytearray(1 << 20)
            while size := connection.recv_into(buffer):
                got += size
            connection_s = time.perf_counter() - begun
            connection.sendall(b"%d" % int(got * 8 / connection_s))
"""
_SOURCE = """
import socket, sys, time
data = bytes(1 << 18)
with socket.create_connection((sys.argv[1], 9000)) as made:
    until = time.perf_counter() + float(sys.argv[2])
    while time.perf_counter() < until:
        made.sendall(data)
    made.shutdown(socket.SHUT_WR)
    print(made.recv(100).decode())
"""
_SENDER = """
import asyncio, time
import net

async def main(mesh):
    await mesh.ready()
    for number in range({count}):
        await mesh.output("out").send([number, time.time()])
        await asyncio.sleep({every})
    await asyncio.sleep(3600)

net.run(main)
"""
_RECEIVER = """
import json, time
import net

async def main(mesh):
    await mesh.ready()
    took = []
    async for message in mesh.input("in"):
        took.append(time.time() - message.value[1])
        if len(took) == {count}:
            print("took", json.dumps(took), flush=True)

net.run(main)
"""


def rows() -> list[Row]:
    """All of them, in one lab."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        raise NotHere("a lab needs root and iproute2")
    with _lab() as bench:
        bench.up(3)
        found = [*_paths(bench), *_invariance(bench)]
        bench.up(MACHINES)
        found += _applies(bench)
    return [*found, *_in_containers()]


class _Bench:
    """A lab in a folder of its own, and `otterctl` with it."""

    def __init__(self, folder: Path) -> None:
        from otter_ctl.lab.lab import Lab

        self.folder = folder
        self.lab = Lab(folder / "lab")
        self._env = {
            **os.environ, "OTTER_LAB": str(self.lab.folder.path), "NO_COLOR": "1",
            "OTTER_RUNS": str(folder / "runs"), "OTTER_SITE": str(self.lab.site),
            "OTTER_ROOT": str(folder / "own"),  # no mesh of this computer's agent is destroyed
        }  # fmt: skip

    def up(self, count: int, *, docker: bool = False) -> None:
        from otter_ctl.lab.errors import LabError

        try:
            self.lab.up(count, docker=docker, layers=layers())
        except LabError as error:
            raise NotHere(str(error)) from error

    def otterctl(self, *words: object) -> str:
        done = subprocess.run(
            [OTTERCTL, *map(str, words)], env=self._env, text=True, check=False,
            capture_output=True, cwd=self.folder, timeout=300,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{words}: {done.stdout}\n{done.stderr}")
        return done.stdout

    def seconds(self, *words: object) -> float:
        begun = time.perf_counter()
        self.otterctl(*words)
        return time.perf_counter() - begun

    def topology(self, text: str) -> Path:
        path = self.folder / "bench.toml"
        path.write_text(text)
        return path

    def destroy(self) -> None:
        self.otterctl("destroy", "--all", "--yes", "--no-fetch")

    def rest(self) -> None:
        """Wait until what carried links has ended on all machines, as it does after a while."""
        deadline = time.monotonic() + 30
        while any(map(self._carries, (machine.name for machine in self.lab.machines()))):
            if time.monotonic() > deadline:
                raise RuntimeError("what carried links doesn't end")
            time.sleep(0.1)

    def _carries(self, machine: str) -> bool:
        enter = ["nsenter", "-t", str(self.lab.pid_of(machine)), "-m", "-p"]
        command = [*enter, "ps", "-e", "-o", "args="]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return "otter_agent.links." in done.stdout


@contextmanager
def _lab() -> Iterator[_Bench]:
    folder = Path(tempfile.mkdtemp(prefix="otter-bench-"))
    bench = _Bench(folder)
    try:
        yield bench
    finally:
        bench.lab.down()
        shutil.rmtree(folder, ignore_errors=True)


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """Median of the ratios of each turn: what else the computer does hits both alike."""
    return statistics.median(a / b for a, b in zip(ours, others, strict=True))


# --- paths ------------------------------------------------------------------------------------


def _paths(bench: _Bench) -> list[Row]:
    text = f"""
name = "path"
[defaults.module]
runtime = "process"
[hosts.a]
machine = "lab1"
[hosts.b]
machine = "lab2"
[hosts.c]
machine = "lab2"
[[links]]
name = "kernel"
between = ["a", "b"]
tunnel = "vxlan"
[[links]]
name = "carried"
between = ["a", "c"]
tunnel = "udp"
[modules.source]
host = "a"
command = ["sleep", "infinity"]
[modules.vxlan]
host = "b"
command = ["{sys.executable}", "-c", '''{_SINK}''', "0.0.0.0"]
ready = {{ tcp = 9000 }}
[modules.udp]
host = "c"
command = ["{sys.executable}", "-c", '''{_SINK}''', "0.0.0.0"]
ready = {{ tcp = 9000 }}
"""
    rates: dict[str, list[float]] = {"vxlan": [], "udp": [], "by hand": [], "routed": []}
    bench.otterctl("apply", bench.topology(text))
    with _by_hand(bench) as hand, _routed_by_hand(bench) as routed:
        for _ in range(TURNS):
            for to in ("vxlan", "udp"):
                command = (sys.executable, "-c", _SOURCE, to, SECONDS)
                said = bench.otterctl("exec", "source", "--", *command)
                rates[to].append(float(said))
            rates["by hand"].append(hand())
            rates["routed"].append(routed())
    bench.destroy()
    middle = {name: statistics.median(found) for name, found in rates.items()}
    note = "one TCP connection; both machines on this computer's cores"
    return [
        {"name": "machines.vxlan_of_by_hand", "unit": "1", "better": "higher", "goal": 0.9,
         "ours": _ratio(rates["vxlan"], rates["by hand"]), "limit": None, "n": TURNS,
         "note": note,
         "peers": {"ours_bps": middle["vxlan"], "by_hand_bps": middle["by hand"]}},
        {"name": "machines.vxlan_of_routed_by_hand", "unit": "1", "better": "higher", "goal": None,
         "ours": _ratio(rates["vxlan"], rates["routed"]), "limit": None, "n": TURNS,
         "note": "by hand: namespace, veth, router's namespace, VXLAN",
         "peers": {"routed_bps": middle["routed"],
                   "routed_of_by_hand": _ratio(rates["routed"], rates["by hand"])}},
        {"name": "machines.udp", "unit": "bit/s", "better": "higher", "goal": 1e9,
         "ours": middle["udp"], "limit": None, "n": TURNS, "note": note,
         "peers": {"vxlan": middle["vxlan"]}},
    ]  # fmt: skip


@contextmanager
def _by_hand(bench: _Bench) -> Iterator[Any]:
    """A VXLAN between the two machines and nothing else; runs one connection over it."""
    pids = [bench.lab.pid_of(name) for name in ("lab1", "lab2")]
    data = {machine.name: str(machine.data) for machine in bench.lab.machines()}
    ends = [("lab1", "lab2", "10.254.0.1"), ("lab2", "lab1", "10.254.0.2")]
    inside = [["nsenter", f"--net=/proc/{pid}/ns/net"] for pid in pids]
    for (own, other, address), enter in zip(ends, inside, strict=True):
        for words in (
            f"link add hand type vxlan id 77 local {data[own]} remote {data[other]} dstport 4789",
            f"address add {address}/24 dev hand",
            f"link set hand mtu {_MTU} up",
        ):
            subprocess.run([*enter, "ip", *words.split()], check=True, capture_output=True)
    try:
        with _connecting(inside[0], inside[1], ends[1][2]) as once:
            yield once
    finally:
        for enter in inside:
            subprocess.run([*enter, "ip", "link", "del", "hand"], check=False)


@contextmanager
def _connecting(source: list[str], sink: list[str], address: str) -> Iterator[Any]:
    """Runs one connection at each call; both commands are what enters a namespace."""
    child = subprocess.Popen([*sink, sys.executable, "-c", _SINK, address], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()

        def once() -> float:
            words = [sys.executable, "-c", _SOURCE, address, str(SECONDS)]
            done = subprocess.run([*source, *words], check=True, capture_output=True)
            return float(done.stdout)

        yield once
    finally:
        child.kill()
        child.wait()


@contextmanager
def _routed_by_hand(bench: _Bench) -> Iterator[Any]:
    """The least that a mesh needs: what sends is in a namespace, behind one that routes.

    The VXLAN is in the latter, its socket in the machine's; all goes with the namespaces.
    """
    data = {machine.name: str(machine.data) for machine in bench.lab.machines()}
    with ExitStack() as stack:
        insides = []
        for n, (own, other) in enumerate((("lab1", "lab2"), ("lab2", "lab1")), 1):
            machine = _enter(bench.lab.pid_of(own))
            router, inside = (stack.enter_context(_namespace(machine)) for _ in range(2))
            vxlan = f"link add routed netns {router} type vxlan id 78"
            for enter, words in (
                (machine, f"{vxlan} local {data[own]} remote {data[other]} dstport 4790"),
                (_enter(router), f"address add 10.253.0.{n}/24 dev routed"),
                (_enter(router), f"link set routed mtu {_MTU} up"),
                (
                    _enter(router),
                    f"link add in mtu {_MTU} type veth peer out mtu {_MTU} netns {inside}",
                ),
                (_enter(router), f"address add 10.253.{n}.1/24 dev in"),
                (_enter(router), "link set in up"),
                (_enter(router), f"route add 10.253.{3 - n}.0/24 via 10.253.0.{3 - n}"),
                (_enter(inside), f"address add 10.253.{n}.2/24 dev out"),
                (_enter(inside), "link set out up"),
                (_enter(inside), f"route add default via 10.253.{n}.1"),
            ):
                subprocess.run([*enter, "ip", *words.split()], check=True, capture_output=True)
            forwards = "echo 1 > /proc/sys/net/ipv4/ip_forward"
            subprocess.run([*_enter(router), "sh", "-c", forwards], check=True)
            insides.append(_enter(inside))
        yield stack.enter_context(_connecting(insides[0], insides[1], "10.253.2.2"))


def _enter(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


@contextmanager
def _namespace(enter: list[str]) -> Iterator[int]:
    """A network namespace of its own; gives the pid of a process in it."""
    command = [*enter, "unshare", "--net", "sh", "-c", "echo in; exec sleep infinity"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        yield child.pid
    finally:
        child.kill()
        child.wait()


# --- bringing ---------------------------------------------------------------------------------


def _ring(machines: int) -> str:
    lines = ['name = "many"', "[defaults.module]", 'runtime = "process"']
    for n in range(MACHINES):
        lines += [f"[hosts.h{n}]", f'machine = "lab{n % machines + 1}"']
    for n in range(MODULES):
        lines += [f"[modules.m{n}]", f'host = "h{n % MACHINES}"', 'command = ["sleep", "infinity"]']
    for n in range(MACHINES):
        lines += ["[[links]]", f'between = ["h{n}", "h{(n + 1) % MACHINES}"]', 'delay = "1ms"']
    return "\n".join(lines) + "\n"


def _applies(bench: _Bench) -> list[Row]:
    took: dict[str, list[float]] = {}
    for turn in range(APPLIES + 1):
        for name, machines in (("many", MACHINES), ("one", 1)):
            path = bench.topology(_ring(machines))
            bench.rest()
            first, again = (bench.seconds("apply", path) for _ in range(2))
            bench.destroy()
            after = bench.seconds("apply", path)
            bench.destroy()
            if turn:  # the first one builds what modules run in
                for what, seconds in (("first", first), ("again", again), ("after", after)):
                    took.setdefault(f"{what} {name}", []).append(seconds)
    what = f"{MODULES} process modules on {MACHINES} machines"

    def beside(name: str, when: str, how: str) -> Row:
        many, one = took[f"{when} many"], took[f"{when} one"]
        return {
            "name": f"machines.{name}", "unit": "1", "better": "lower", "goal": 1.3,
            "ours": _ratio(many, one), "limit": None, "n": APPLIES, "note": f"{what}; {how}",
            "peers": {"ours_s": statistics.median(many), "one_machine_s": statistics.median(one)},
        }  # fmt: skip

    return [
        beside("apply_of_one", "first", "no links were carried on any machine before"),
        beside("apply_after_another", "after", "right after another mesh, as on one machine"),
        {"name": "machines.apply_again", "unit": "s", "better": "lower", "goal": 1.0,
         "ours": statistics.median(took["again many"]), "limit": None, "n": APPLIES, "note": what,
         "peers": {}},
    ]  # fmt: skip


# --- where a mesh is doesn't matter -----------------------------------------------------------


def _in_containers() -> list[Row]:
    """The same in containers, each machine with an engine of its own."""
    if not shutil.which("dockerd") or not shutil.which("debootstrap"):
        return []
    kept = Path(os.environ.get("OTTER_TEST_CACHE") or Path("~/.cache/otter-tests").expanduser())
    root = kept / f"root-{SUITE}.tar"
    if not root.exists():
        asyncio.run(make_root_tar(root, lambda line: None))
    with _lab() as bench:
        bench.up(3, docker=True)
        for machine in bench.lab.machines():  # these engines reach no registry
            argv = bench.lab.ssh(machine.name, f"docker import - {find_base('python').root}")
            with root.open("rb") as tar:
                subprocess.run(argv, stdin=tar, check=True, stdout=subprocess.DEVNULL)
        return _invariance(bench, "docker")


def _invariance(bench: _Bench, runtime: str = "process") -> list[Row]:
    found: dict[str, list[dict[str, float]]] = {"packed": [], "spread": []}
    for name, code in (
        ("sender", _SENDER.format(count=MESSAGES, every=EVERY_S)),
        ("receiver", _RECEIVER.format(count=MESSAGES)),
    ):
        (bench.folder / name).mkdir()
        (bench.folder / name / "module.py").write_text(code)
    for _ in range(APPLIES):
        for name, machines in (("packed", ("lab1",) * 3), ("spread", ("lab1", "lab2", "lab3"))):
            bench.otterctl("apply", bench.topology(_chain(machines, runtime)))
            found[name].append(_latencies(bench))
            bench.destroy()
    made: list[Row] = []
    kind = "" if runtime == "process" else f"{runtime}_"
    for which in ("p50", "p95"):
        packed, spread = (
            statistics.median(one[which] for one in found[name]) for name in ("packed", "spread")
        )
        made.append(
            {"name": f"machines.invariance_{kind}{which}", "unit": "s", "better": "lower",
             "ours": abs(spread - packed), "goal": max(0.002, 0.03 * packed), "limit": None,
             "peers": {"packed": packed, "spread": spread}, "n": APPLIES,
             "note": f"{MESSAGES} messages over two links, 10 and 15 ms; goal: 3 % or 2 ms"}
        )  # fmt: skip
    return made


def _chain(machines: Sequence[str], runtime: str) -> str:
    hosts = "\n".join(f'[hosts.h{n}]\nmachine = "{name}"' for n, name in enumerate(machines))
    runs = {
        "process": 'command = ["{python}", "module.py"]\n'
        'files = {{ "module.py" = "{name}/module.py" }}',
        "docker": 'build = "{name}"',
    }[runtime]
    modules = "\n".join(
        f'[modules.{name}]\nhost = "{host}"\nready = {{ sdk = true }}\n'
        + runs.format(name=name, python=sys.executable)
        for name, host in (("sender", "h0"), ("receiver", "h2"))
    )
    return f"""
name = "chain"
[defaults.module]
runtime = "{runtime}"
[defaults.link]
subtract_underlay = true
{hosts}
[[links]]
between = ["h0", "h1"]
delay = "10ms"
rate = "50mbit"
[[links]]
between = ["h1", "h2"]
delay = "15ms"
rate = "50mbit"
{modules}
[[streams]]
from = "sender.out"
to = "receiver.in"
"""


def _latencies(bench: _Bench) -> dict[str, float]:
    """Median and p95 of all messages, by the one clock of this computer."""
    deadline = time.monotonic() + 30 + 4 * MESSAGES * EVERY_S
    while time.monotonic() < deadline:
        for line in bench.otterctl("logs", "receiver", "--tail", "2").splitlines():
            _, word, text = line.partition("took ")
            if word:
                took = sorted(json.loads(text))
                return {"p50": took[len(took) // 2], "p95": took[len(took) * 95 // 100]}
        time.sleep(0.2)
    raise RuntimeError("messages didn't come in time")
