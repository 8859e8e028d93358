"""Machines for tests: a namespace each with a real sshd and an agent, behind one switch.

    ctl 10.77.0.1 ─┐
    m1  10.77.0.11 ─┼─ bridge, in a namespace of its own
    m2  10.77.0.12 ─┘

`otterctl` runs in `ctl`, with keys, known_hosts, ssh_config and a site file of the test's own. All
of it is ended by the pids that were started and is gone afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helpers.otter import BIN, wait_for

UNPACKED = Path(os.environ.get("OTTER_CACHE") or Path("~/.cache/otter").expanduser(), "lab")
"""Where `.ci/debian tests` puts what isn't installed."""
SSHD = shutil.which("sshd") or next(
    (str(p) for p in (Path("/usr/sbin/sshd"), UNPACKED / "usr/sbin/sshd") if os.access(p, os.X_OK)),
    "",
)
_SSHD = """
mount --bind "$1" /etc/passwd
export LD_LIBRARY_PATH="$2"
shift 2
exec "$@"
"""
"""In a mount namespace of its own, as sshd wants a user of its name. Keeps its pid."""
CTL = "10.77.0.1"
PATIENCE_S = 20
"""With a dial's steps, on a busy machine."""
_SERVE = """
import sys, time
real, ahead_s = time.time, float(sys.argv.pop(1))
time.time = lambda: real() + ahead_s
from otter_agent.__main__ import main
sys.exit(main())
"""
"""An agent on a machine whose clock is ahead: the computer's own is left alone."""


def sh(*argv: object, check: bool = True) -> str:
    """Run a command; what it printed."""
    words = list(map(str, argv))
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


class Machine:
    """One machine: its namespace, sshd and agent."""

    def __init__(self, world: Machines, number: int) -> None:
        self.world = world
        self.name = f"m{number}"
        self.address = f"10.77.0.{10 + number}"
        self.folder = world.folder / self.name
        self.netns = f"{world.prefix}-{self.name}"
        self.root = self.folder / "o"
        self.sshd: subprocess.Popen[bytes] | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.id = ""
        self.ahead_s = 0.0
        self.more: tuple[str, ...] = ()
        """Lines of its sshd's configuration; the first of a kind counts."""
        self.folder.mkdir()
        self.host_key = self.folder / "host_key"
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.host_key)

    @property
    def socket(self) -> Path:
        """Of its agent."""
        return self.root / "run" / "agent.sock"

    def start_sshd(self, host_key: Path | None = None) -> None:
        """Start it, with another host key than its own where one is named."""
        config = self.folder / "sshd_config"
        lines = [
            *self.more, f"HostKey {host_key or self.host_key}", "ListenAddress 0.0.0.0", "Port 22",
            f"AuthorizedKeysFile {self.world.folder}/key.pub", f"PidFile {self.folder}/sshd.pid",
            "PasswordAuthentication no", "PermitRootLogin yes", "StrictModes no", "UsePAM no",
            "UseDNS no",
        ]  # fmt: skip
        config.write_text("\n".join(lines) + "\n")
        users = self.folder / "passwd"
        known = Path("/etc/passwd").read_text()
        own = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
        users.write_text(known if "\nsshd:" in known else known + own)
        libraries = ":".join(map(str, UNPACKED.glob("usr/lib/*-linux-gnu*")))
        shell = ["unshare", "-m", "sh", "-ec", _SSHD, "sh", str(users), libraries]
        self.sshd = self._start("sshd.log", *shell, SSHD, "-D", "-e", "-f", str(config))
        wait_for(lambda: self.reachable, f"sshd of {self.name}: {self.log('sshd.log')}")

    @property
    def reachable(self) -> bool:
        """Whether its sshd answers who asks from `ctl`."""
        port = next((line.split()[1] for line in self.more if line.startswith("Port ")), "22")
        probe = f"exec 3<>/dev/tcp/{self.address}/{port}"
        command = [*_inside(self.world.ctl), "timeout", "1", "bash", "-c", probe]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def stop_sshd(self) -> None:
        """End it, with all of its sessions."""
        if self.sshd is not None:
            for pid in sh("pgrep", "-P", str(self.sshd.pid), check=False).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            self.sshd.kill()
            self.sshd.wait()
            self.sshd = None

    def _answers(self) -> bool:
        """Whether an agent does; the socket of a killed one is there still."""
        info = self.ask("GET", "/v1/info") if self.socket.is_socket() else None
        self.id = info["agent"] if info else ""
        return bool(info)

    def start(self) -> None:
        """Both of them."""
        self.start_sshd()
        self.start_agent()

    def start_agent(self) -> None:
        """Start it; returns when it answers."""
        program = [str(BIN / "otter-agent")]
        if self.ahead_s:
            program = [sys.executable, "-c", _SERVE, str(self.ahead_s)]
        command = [
            *program, "serve", "--root", str(self.root), "--name", self.name,
            "--docker", f"unix://{self.folder}/no-engine.sock",
        ]  # fmt: skip
        self.agent = self._start("agent.log", *command)
        wait_for(self._answers, f"agent of {self.name}: {self.log('agent.log')}")

    def ask(self, method: str, path: str, body: bytes = b"") -> Any:
        """What its agent answers."""
        command = ["curl", "-s", "-X", method, "--unix-socket", str(self.socket)]
        command += ["--data-binary", "@-"] if body else []
        done = subprocess.run([*command, f"http://a{path}"], input=body, capture_output=True)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def end_meshes(self) -> None:
        """Remove what a test that failed has left."""
        if self.agent is None or self.agent.poll() is not None:
            return
        for mesh in self.ask("GET", "/v1/meshes") or []:
            self.ask("DELETE", f"/v1/meshes/{mesh['mesh']}?force=1")
        wait_for(lambda: self.ask("GET", "/v1/meshes") == [], f"{self.name} lets go")

    def stop_agent(self) -> None:
        """End it; what runs goes on."""
        if self.agent is not None:
            self.agent.terminate()
            try:
                self.agent.wait(30)
            finally:
                self.agent.kill()  # one that a test has stopped
                self.agent = None

    def kill_agent(self) -> None:
        """Kill it; what runs goes on."""
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait()
        self.agent = None

    def log(self, name: str) -> str:
        """The end of one of its logs."""
        path = self.folder / name
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def log_of_sshd(self) -> str:
        """All of it."""
        return (self.folder / "sshd.log").read_text(errors="replace")

    def _start(self, log: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as file:
            return subprocess.Popen(
                [*_inside(self.netns), *command], stdin=subprocess.DEVNULL, stdout=file,
                stderr=file, start_new_session=True, env=self.world.env,
            )  # fmt: skip

    def cut(self) -> None:
        """Nothing gets through to it or from it; who dials it soon gives up."""
        sh("ip", "-n", self.world.switch, "link", "set", self.name, "down")
        self._is_dialled_for(2)

    def heal(self) -> None:
        """What was cut is whole again."""
        sh("ip", "-n", self.world.switch, "link", "set", self.name, "up")
        self._is_dialled_for(PATIENCE_S)

    def _is_dialled_for(self, seconds: int) -> None:
        path = self.world.folder / "ssh_config"
        before, host, after = path.read_text().partition(f"Host {self.name}\n")
        after = re.sub(r"ConnectTimeout \d+", f"ConnectTimeout {seconds}", after, count=1)
        path.write_text(before + host + after)


class Machines:
    """Several of them and their controller; use `machines()`."""

    def __init__(self, count: int) -> None:
        self.prefix = f"otm{secrets.token_hex(3)}"
        self.folder = Path(tempfile.mkdtemp(prefix="otter-m-"))
        self.switch, self.ctl = f"{self.prefix}-sw", f"{self.prefix}-ctl"
        self.env = {
            **os.environ, "OTTER_ROOT": str(self.folder / "c"), "NO_COLOR": "1",
            "OTTER_RUNS": str(self.folder / "runs"), "OTTER_SITE": str(self.folder / "site.toml"),
            "OTTER_DOCKER": f"unix://{self.folder}/no-engine.sock", "HOME": str(self.folder),
        }  # fmt: skip
        for name in ("DOCKER_HOST", "SSH_AUTH_SOCK"):
            self.env.pop(name, None)
        sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / "key")
        Path("/run/sshd").mkdir(exist_ok=True)
        self.all = [Machine(self, number) for number in range(1, count + 1)]
        self._wire()
        self.write_site()

    def _wire(self) -> None:
        sh("ip", "netns", "add", self.switch)
        sh("ip", "-n", self.switch, "link", "add", "sw", "type", "bridge")
        sh("ip", "-n", self.switch, "link", "set", "sw", "up")
        ends = [(m.netns, m.name, m.address) for m in self.all] + [(self.ctl, "ctl", CTL)]
        for netns, name, address in ends:
            sh("ip", "netns", "add", netns)
            pair = ["ip", "-n", self.switch, "link", "add", name, "type", "veth"]
            sh(*pair, "peer", "name", "eth0", "netns", netns)
            sh("ip", "-n", self.switch, "link", "set", name, "master", "sw", "up")
            sh("ip", "-n", netns, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                sh("ip", "-n", netns, "link", "set", device, "up")

    def write_site(self) -> None:
        """The site file, ssh_config and known_hosts, of all machines as they are."""
        known = [f"{m.address} {m.host_key.with_suffix('.pub').read_text()}" for m in self.all]
        (self.folder / "known_hosts").write_text("".join(known))
        blocks = [
            f"Host {m.name}\n  HostName {m.address}\n  User root\n  IdentitiesOnly yes\n"
            f"  ConnectTimeout {PATIENCE_S}\n"
            f"  IdentityFile {self.folder}/key\n  UserKnownHostsFile {self.folder}/known_hosts\n"
            for m in self.all
        ]
        (self.folder / "ssh_config").write_text("".join(blocks))
        tables = [
            f'[machines.{m.name}]\nssh_config = "ssh_config"\nsocket = "{m.socket}"\n'
            for m in self.all
        ]
        (self.folder / "site.toml").write_text("\n".join(tables))

    def __getitem__(self, name: str) -> Machine:
        return next(m for m in self.all if m.name == name)

    def command(self, *arguments: object) -> list[str]:
        """`otterctl` in the controller's namespace."""
        return [*_inside(self.ctl), str(BIN / "otterctl"), *map(str, arguments)]

    def __call__(
        self, *arguments: object, code: int | None = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `otterctl`; `code` is the exit status to insist on (None: any)."""
        done = subprocess.run(
            self.command(*arguments), env={**self.env, **(env or {})}, capture_output=True,
            text=True, check=False, timeout=240, cwd=self.folder, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        logs = "\n".join(f"{m.name}: {m.log('agent.log')[-800:]}" for m in self.all)
        said = f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{logs}"
        assert code is None or done.returncode == code, said
        assert "Traceback" not in done.stderr, said
        return done

    def json(self, *arguments: object, code: int | None = 0) -> Any:
        """Run a verb with `--json`; its one document."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def popen(self, *arguments: object) -> subprocess.Popen[str]:
        """Start `otterctl` and return at once."""
        return subprocess.Popen(
            self.command(*arguments), env=self.env, text=True, cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def topology(self, text: str, name: str = "topology.toml") -> Path:
        """Write a topology file."""
        path = self.folder / name
        path.write_text(text)
        return path

    def leftovers(self) -> list[str]:
        """What agents left of meshes: namespaces and devices."""
        found = [n for n in os.listdir("/run/netns") if n.startswith("otter-") and self._mine(n)]
        for machine in self.all:
            links = json.loads(sh("ip", "-n", machine.netns, "-j", "link"))
            found += [f"{machine.name}: {link['ifname']}" for link in links]
        return [one for one in found if not one.endswith((": lo", ": eth0", ": sit0"))]

    def _mine(self, netns: str) -> bool:
        return any(netns.startswith(f"otter-{machine.id}+") for machine in self.all)

    def start(self) -> None:
        """Every sshd and agent, at once."""
        with ThreadPoolExecutor(len(self.all)) as threads:
            list(threads.map(Machine.start, self.all))

    def close(self) -> None:
        """End everything, also where something of it doesn't end as it should."""
        with contextlib.ExitStack() as ends:  # the last first
            ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
            for name in [m.netns for m in self.all] + [self.ctl, self.switch]:
                ends.callback(sh, "ip", "netns", "del", name, check=False)
            for machine in self.all:
                ends.callback(machine.stop_agent)
                ends.callback(machine.end_meshes)
                ends.callback(machine.stop_sshd)


def _inside(netns: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{netns}"]  # `ip netns exec` hides the cgroups


@contextlib.contextmanager
def machines(count: int, *, ahead_s: Sequence[float] = ()) -> Iterator[Machines]:
    """So many, with nothing left afterwards; `ahead_s`: how far their clocks are ahead."""
    world = Machines(count)
    for machine, ahead in zip(world.all, ahead_s, strict=False):
        machine.ahead_s = ahead
    try:
        world.start()
        yield world
    finally:
        world.close()
