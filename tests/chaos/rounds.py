"""One round of chaos: some faults and changes at random, then everything is mended and looked at.

What a round must end with, however it went: one apply makes the mesh whole, numbers come through,
links are as asked, one timeline runs on all machines, and nothing of before is left over.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

from helpers.lab_site import NAMES, RING, Site
from helpers.labs import inside
from helpers.otter import wait_for

MEANWHILE = ("cut", "off", "kill agent", "kill helper", "kill carrier", "kill launcher")
LIMIT_S = 90.0
"""No verb may take longer, whatever is cut or off."""
EXTRA = '\n[modules.more]\nhost = "east"\ncommand = ["sleep", "8317"]\n'
VARIANTS = {
    "ring": RING,
    "more": RING.replace('delay = "200ms"', 'delay = "100ms"') + EXTRA,
    "pair": RING.replace('machine = "lab3"', 'machine = "lab2"'),
    "udp": RING.replace("[[links]]", '[defaults.link]\ntunnel = "udp"\n\n[[links]]', 1),
}
"""The same mesh: as it is; with a module more and another delay; on two of the three machines; with
links between machines carried by a process of each machine's, not by VXLAN."""


class Chaos:
    """The rounds of one lab.

    Args:
        site: Its user.
        seed: What happens follows from it; when, only by and large.
        say: Takes each line of the log.
    """

    def __init__(self, site: Site, seed: int, say: Callable[[str], None]) -> None:
        self.site, self.lab = site, site.lab
        self._chance = random.Random(seed)
        self._variants = random.Random(seed).sample(list(VARIANTS), len(VARIANTS))
        self._say = say
        self._off: set[str] = set()
        self._owed = False
        """A destroy has told that it didn't reach all: to be done again, or what is left there
        may be in nobody's way when the mesh is made anew."""
        self._seen: dict[str, dict[str, list[str]]] = {}
        self.counts: Counter[str] = Counter()
        self._acts: dict[str, tuple[int, Callable[[], str]]] = {
            "apply": (4, self._apply),
            "apply and meanwhile": (4, self._meanwhile),
            "kill apply": (2, self._kill_apply),
            "interrupt apply": (1, self._interrupt_apply),
            "two controllers": (2, self._two),
            "shape": (3, self._shape),
            "cut": (3, self._cut),
            "heal": (2, self._heal),
            "off": (2, self._power_off),
            "on": (2, self._power_on),
            "kill agent": (3, lambda: self._kill("otter_agent serve")),
            "kill helper": (3, lambda: self._kill("otter_agent.links.tun")),
            "kill carrier": (2, lambda: self._kill("otter_agent.tunnels")),
            "kill launcher": (1, lambda: self._kill("otter_agent.launcher")),
            "destroy": (1, self._destroy),
        }

    def round(self, number: int) -> None:
        """Some acts, and what must be true after them."""
        names = list(self._acts)
        weights = [weight for weight, _ in self._acts.values()]
        for name in self._chance.choices(names, weights, k=self._chance.randint(2, 4)):
            began = time.monotonic()
            what = self._acts[name][1]()
            self.counts[name] += 1
            self._say(f"round {number}: {name}: {what} ({time.monotonic() - began:.1f} s)")
        began = time.monotonic()
        variant = self._variants[number % len(VARIANTS)]  # so that all of them come soon
        self._mend()
        if self._owed and (variant == "pair" or self._chance.random() < 0.5):
            self.site("destroy", "-m", "ring", "--yes", "--no-fetch", limit_s=LIMIT_S)
        self._owed = False
        self._converge(variant)
        self._look(variant)
        self._say(f"round {number}: whole as {variant} ({time.monotonic() - began:.1f} s)")

    def end(self) -> None:
        """Nothing is left of the mesh."""
        self._mend()
        self.site("destroy", "-m", "ring", "--yes", "--no-fetch", limit_s=LIMIT_S)
        left = {name: self.site.remains(name) for name in NAMES}
        assert left == {name: [] for name in NAMES}, left

    # --- acts --------------------------------------------------------------------------------

    def _file(self, variant: str) -> str:
        return str(self.site.topology(VARIANTS[variant], f"{variant}.toml"))

    def _any(self) -> str:
        return self._chance.choice(list(VARIANTS))

    def _verb(self, *words: str) -> str:
        return self._ended(self.site.start(*words))

    def _ended(self, process: subprocess.Popen[str]) -> str:
        """How a verb ended: by itself, in time, without a traceback."""
        try:
            _, errors = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
            process.wait()
        assert "Traceback" not in errors, errors
        # 2: nothing can be planned where data is cut off and the topology insists on UDP.
        cut_off = process.returncode == 2 and "reaches the other" in errors
        known = process.returncode in (0, 1, 130) or cut_off
        assert known, f"{process.args}: {process.returncode}\n{errors}"
        said = [line for line in errors.splitlines() if line.startswith("otterctl: ")]
        told = said[0].removeprefix("otterctl: ")[:150] if said else ""
        why = told if process.returncode in (1, 2) else ""
        return f"exit {process.returncode}" + (f": {why}" if why else "")

    def _apply(self) -> str:
        variant = self._any()
        return f"{variant}: {self._verb('apply', self._file(variant))}"

    def _begun(self) -> tuple[str, subprocess.Popen[str]]:
        """An apply under way, stopped at a moment of its own."""
        variant, after = self._any(), self._chance.uniform(0.2, 2.5)
        process = self.site.start("apply", self._file(variant))
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            return f"{variant} after {after:.1f} s", process
        return f"{variant}, which had ended", process

    def _meanwhile(self) -> str:
        """Something goes wrong while a mesh is applied."""
        what, process = self._begun()
        other = self._chance.choice(MEANWHILE)
        done = self._acts[other][1]()
        return f"{what}, {other} {done}: {self._ended(process)}"

    def _kill_apply(self) -> str:
        what, process = self._begun()
        process.kill()
        process.communicate()
        return what

    def _interrupt_apply(self) -> str:
        what, process = self._begun()
        process.send_signal(signal.SIGINT)
        return f"{what}: {self._ended(process)}"

    def _two(self) -> str:
        variants = self._any(), self._any()
        both = [self.site.start("apply", self._file(variant)) for variant in variants]
        return " and ".join(
            f"{variant}: {self._ended(process)}"
            for variant, process in zip(variants, both, strict=True)
        )

    def _shape(self) -> str:
        link = self._chance.choice(["radio", "detour"])
        words = ["shape", "link", link, "--delay", f"{self._chance.randint(1, 80)}ms"]
        if self._chance.random() < 0.5:
            words += ["--for", "1s"]
        return f"{' '.join(words[2:])}: {self._verb(*words)}"

    def _destroy(self) -> str:
        said = self._verb("destroy", "-m", "ring", "--yes", "--no-fetch")
        self._owed = self._owed or said != "exit 0"
        return said

    def _machine(self) -> str:
        return self._chance.choice(NAMES)

    def _cut(self) -> str:
        name = self._machine()
        cables = self._chance.choice([["management"], ["data"], ["management", "data"]])
        self.lab.cut(name, cables=cables)
        return f"{name} ({', '.join(cables)})"

    def _heal(self) -> str:
        self.lab.heal(*NAMES)
        return "all"

    def _power_off(self) -> str:
        name = self._machine()
        self.lab.off(name)
        self._off.add(name)
        return name

    def _power_on(self) -> str:
        name = self._machine()
        self.lab.on(name)
        self._off.discard(name)
        return name

    def _kill(self, what: str) -> str:
        name = self._machine()
        if name in self._off:
            return f"{name} is off"
        lines = inside(self.lab, name, "ps", "-e", "-o", "pid=,args=").splitlines()
        pids = [line.split()[0] for line in lines if what in line]
        if pids:
            inside(self.lab, name, "kill", "-9", *pids, code=None)
        return f"{len(pids)} of {name}"

    # --- what must be true then --------------------------------------------------------------

    def _mend(self) -> None:
        self.lab.on(*NAMES)
        self.lab.heal(*NAMES)
        self._off.clear()
        for name in NAMES:
            wait_for(lambda name=name: self.site.agent(name, "/v1/info"), f"{name}'s agent")

    def _converge(self, variant: str) -> None:
        """One apply, and no more, whatever was left half-made."""
        self.site("apply", self._file(variant), limit_s=LIMIT_S)
        self.site("shape", "reset")

    def _look(self, variant: str) -> None:
        status = self.site.json("status")
        assert status["state"] == "ready", status
        assert {m["state"] for m in status["modules"]} == {"ready"}, status["modules"]
        assert all(m["reachable"] for m in status["machines"]), status["machines"]
        for link in status["links"]:
            for key, value in link["asked"].items():
                assert link["applied"].get(key) == value, link
        kinds = {link["tunnel"]["kind"] for link in status["links"] if link["tunnel"]}
        assert variant != "udp" or kinds == {"udp"}, status["links"]
        names = [machine["name"] for machine in status["machines"]]
        for name in names:
            told = self.site.agent(name, "/v1/meshes/ring/timeline")
            assert told["state"] == "running", (name, told)
        self.site.numbers_come()
        found = {name: _nameless(self.site.remains(name)) for name in NAMES}
        before = self._seen.setdefault(variant, found)
        assert found == before, f"left over: {found}, at first {before}"


def _nameless(lines: list[str]) -> list[str]:
    """Without pids, which differ."""
    return sorted(re.sub(r"^process: \s*\d+", "process:", line) for line in lines)
