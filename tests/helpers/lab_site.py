"""`otterctl` with the machines of a lab, in folders of its own; what meshes leave on the machines.

The mesh that tests of faults have: a stream from lab1 over lab2 to lab3, links that are shaped and
one that isn't, all three ways between the machines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers import labs
from helpers.labs import inside
from helpers.otter import BIN, wait_for

from otter_ctl.lab.lab import Lab

NAMES = ("lab1", "lab2", "lab3")
HASTE = "  ServerAliveInterval 1\n  ServerAliveCountMax 3\n"
"""Of the ssh_config: who is cut off is soon given up."""
AWAY = "Host {names}\n  ConnectTimeout 2\n"
"""The same of who was cut off before; all others may need longer on a busy machine."""
_SENDER = """
import asyncio
import net

async def main(mesh):
    await mesh.ready()
    for number in range(1000000):
        await mesh.output("numbers").send(number)
        await asyncio.sleep(0.05)

net.run(main)
"""
_RECEIVER = """
import sys

import net

async def main(mesh):
    await mesh.ready()
    async for message in mesh.input("numbers"):
        sys.stdout.write(f"took {message.value}\\n")  # in one piece: who looks sees whole lines
        sys.stdout.flush()

net.run(main)
"""
_IDLE = 'command = ["sleep", "8317"]'
RING = f"""
name = "ring"

[defaults.module]
runtime = "process"

[hosts.west]
machine = "lab1"
cpu = 0.5
[hosts.hub]
machine = "lab2"
[hosts.east]
machine = "lab3"

[[links]]
name = "radio"
between = ["west", "hub"]
delay = "10ms"
rate = "50mbit"
[[links]]
name = "fibre"
between = ["hub", "east"]
[[links]]
name = "detour"
between = ["east", "west"]
delay = "200ms"

[modules.sender]
host = "west"
command = ["{sys.executable}", "sender.py"]
files = {{ "sender.py" = "sender.py" }}
ready = {{ sdk = true }}
[modules.relay]
host = "hub"
{_IDLE}
[modules.receiver]
host = "east"
command = ["{sys.executable}", "receiver.py"]
files = {{ "receiver.py" = "receiver.py" }}
ready = {{ sdk = true }}

[[streams]]
from = "sender.numbers"
to = "receiver.numbers"

[[events]]
at = "1s"
link = "radio"
set = {{ delay = "20ms" }}
"""
_REMAINS = """
ls /run/netns /var/lib/otter/meshes 2>/dev/null | grep -v ':$' | sed '/^$/d; s/^/there: /'
ip -o link | cut -d: -f2 | tr -d ' ' | grep -vE '^(lo|eth[01]|docker0)(@.*)?$' | sed 's/^/device: /'
for top in /sys/fs/cgroup /sys/fs/cgroup/*; do
    for group in "$top"/otter-*/*/; do [ ! -d "$group" ] || echo "group: $group"; done
done
ps -e -o pid=,args= | grep -E '[s]ender.py|[r]eceiver.py|[s]leep 8317' | sed 's/^/process: /'
true
"""


class Site:
    """The user of a lab.

    Args:
        lab: Its machines.
        folder: For files.
        ssh: Lines for each host of the ssh_config.
    """

    def __init__(self, lab: Lab, folder: Path, ssh: str = HASTE) -> None:
        self.lab, self.folder = lab, folder
        self.config, self.site = folder / "ssh_config", folder / "site.toml"
        self._away = folder / "ssh_away"
        self.env = {
            **os.environ, "OTTER_ROOT": str(folder / "c"), "OTTER_RUNS": str(folder / "runs"),
            "OTTER_LAB": str(lab.folder.path), "OTTER_SITE": str(self.site), "NO_COLOR": "1",
            "OTTER_DOCKER": f"unix://{folder}/no-engine.sock", "HOME": str(folder),
        }  # fmt: skip
        for name in ("DOCKER_HOST", "SSH_AUTH_SOCK"):
            self.env.pop(name, None)
        (folder / "sender.py").write_text(_SENDER)
        (folder / "receiver.py").write_text(_RECEIVER)
        text = (lab.folder / "ssh_config").read_text()
        first, rest = text.split("  User root\n", 1)
        self.config.write_text(f"Include {self._away}\n{first}  User root\n{ssh}{rest}")
        text = lab.site.read_text().replace(str(lab.folder / "ssh_config"), str(self.config))
        self.site.write_text(text)

    def start(self, *arguments: object, **env: str) -> subprocess.Popen[str]:
        """`otterctl`, not waited for."""
        memory = self.lab.folder.read()
        machines = memory.machines if memory else []
        away = [one.name for one in machines if one.off or "management" in one.cut]
        self._away.write_text(AWAY.format(names=" ".join(away)) if away else "")
        return subprocess.Popen(
            [BIN / "otterctl", *map(str, arguments)], env={**self.env, **env}, text=True,
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def __call__(self, *arguments: object, code: int | None = 0, limit_s: float = 120) -> str:
        """`otterctl`, to its end: what it prints; with errors where it is to fail."""
        process = self.start(*arguments)
        try:
            said, errors = process.communicate(timeout=limit_s)
        finally:
            process.kill()
            process.wait()
        whole = f"{arguments}: {process.returncode}\n{said}\n{errors}"
        assert code is None or process.returncode == code, f"{whole}\n{self.logs()}"
        assert "Traceback" not in errors, whole
        return said if code == 0 else said + errors

    def json(self, *arguments: object, code: int | None = 0) -> Any:
        """The one document of a verb."""
        said = self(*arguments, "--json", code=code)
        return json.JSONDecoder().raw_decode(said.lstrip())[0]

    def topology(self, text: str = RING, name: str = "ring.toml") -> Path:
        """Write a topology."""
        path = self.folder / name
        path.write_text(text)
        return path

    def took(self) -> int:
        """The last number that has come through; -1: none yet."""
        said, _ = self.start("logs", "receiver", "--tail", "1").communicate(timeout=60)
        words = said.split()
        return int(words[-1]) if words and words[-1].isdecimal() else -1

    def arrived(self) -> int:
        """The same, read on lab3 itself: no SSH is asked. The ring's receiver is there."""
        path = "/var/lib/otter/meshes/ring/receiver/log"
        words = inside(self.lab, "lab3", "tail", "-n", "1", path).split()
        return int(words[-1]) if words and words[-1].isdecimal() else -1

    def numbers_come(self) -> None:
        """Waits until another one does; a sender that starts anew begins with 0."""
        before = self.took()
        wait_for(lambda: self.took() not in (before, -1), "numbers come")

    def states(self) -> dict[str, str]:
        """Of the modules."""
        return {m["name"]: m["state"] for m in self.json("status")["modules"]}

    def is_whole(self) -> bool:
        """Whether the mesh is ready on all its machines."""
        status = self.json("status")
        return status["state"] == "ready" and all(m["reachable"] for m in status["machines"])

    def agent(self, name: str, path: str, method: str = "GET") -> Any:
        """What a machine's agent answers, asked on the spot."""
        curl = ["curl", "-s", "-X", method, "--unix-socket", "/run/otter/agent.sock"]
        said = inside(self.lab, name, *curl, f"http://agent{path}", code=None)
        return json.loads(said) if said.strip() else None

    def meshes(self) -> dict[str, list[str]]:
        """Machine -> names of its meshes."""
        found = {}
        for name in NAMES[: len(self.lab.machines())]:
            found[name] = [mesh["mesh"] for mesh in self.agent(name, "/v1/meshes") or []]
        return found

    def remains(self, name: str) -> list[str]:
        """What is of meshes on a machine: namespaces, devices, groups, folders, processes."""
        return inside(self.lab, name, "sh", "-c", _REMAINS).splitlines()

    def logs(self) -> str:
        """The ends of the agents' logs."""
        ends = []
        for machine in self.lab.machines():
            path = self.lab.folder.machine(machine.name) / "disk/var/log/agent.log"
            if path.exists():
                ends.append(f"{machine.name}: {path.read_text(errors='replace')[-1500:]}")
        return "\n".join(ends)


@contextmanager
def site_of(lab: Lab, ssh: str = HASTE) -> Iterator[Site]:
    """A user of a lab, whose meshes are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="otter-site-") as folder:
        yield Site(lab, Path(folder), ssh)


@contextmanager
def lab_of(count: int, **options: Any) -> Iterator[Lab]:
    """A lab in a folder of its own; nothing of it is left afterwards."""
    with labs.new_folder() as folder:
        lab = Lab(folder)
        lab.up(count, layers=labs.layers(), **{"docker": False, **options})
        own = lab.folder.id()
        yield lab
        lab.down()
        assert labs.leftovers(folder, own) == []
