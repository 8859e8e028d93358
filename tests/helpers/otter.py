"""The installed `otterctl` and an agent of the test's own, with a check that nothing is left.

Must not know: how OTTER is built inside; it looks at processes, namespaces and cgroups only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
DEADLINE_S = 60.0
CGROUPS = Path("/sys/fs/cgroup")


def wait_for(
    condition: Callable[[], Any], why: str | Callable[[], str], within_s: float = DEADLINE_S
) -> Any:
    """The first true value of `condition`; fails with `why` when the deadline passes.

    What was said by then is best told by a function: a text is as old as the call.
    """
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(
                f"not within {within_s} s: {why if isinstance(why, str) else why()}"
            )
        time.sleep(0.02)
    return value


class Otter:
    """`otterctl` with a root, a run folder parent, and a Docker engine (or none) of its own.

    Args:
        docker: URL of the engine; None: one that doesn't exist.
    """

    def __init__(self, docker: str | None = None) -> None:
        # Not below tmp_path: a Unix socket's path is at most 107 bytes long.
        self.root = Path(tempfile.mkdtemp(prefix="otter-test-"))
        self.runs = self.root / "runs"
        self.docker = docker or f"unix://{self.root}/no-engine.sock"
        self.env = {
            **os.environ, "OTTER_ROOT": str(self.root / "a"), "OTTER_RUNS": str(self.runs),
            "OTTER_DOCKER": self.docker, "NO_COLOR": "1",
            "OTTER_LAB": str(self.root / "no-lab"),
        }  # fmt: skip
        self.env.pop("DOCKER_HOST", None)
        self._agents: list[subprocess.Popen[bytes]] = []

    def __call__(
        self, *arguments: object, code: int | None = 0, cwd: Path | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `otterctl`; `code` is the exit status to insist on (None: any)."""
        done = subprocess.run(
            [BIN / "otterctl", *map(str, arguments)], env=self.env, capture_output=True, text=True,
            check=False, timeout=DEADLINE_S * 5, cwd=cwd or self.root, input=stdin,
        )  # fmt: skip
        if code is not None:
            said = f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log()}"
            assert done.returncode == code, said
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: object, code: int | None = 0) -> Any:
        """Run a verb with `--json`; its one document."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def popen(self, *arguments: object, **more: Any) -> subprocess.Popen[str]:
        """Start `otterctl` and return at once."""
        return subprocess.Popen(
            [BIN / "otterctl", *map(str, arguments)], env=self.env, text=True, cwd=self.root, **more
        )

    def topology(self, text: str, name: str = "topology.toml") -> Path:
        """Write a topology file."""
        path = self.root / name
        path.write_text(text)
        return path

    def modules(self, mesh: str) -> dict[str, dict[str, Any]]:
        """Status of the modules of a mesh, by name."""
        return {m["name"]: m for m in self.json("status", "-m", mesh)["modules"]}

    def wait_state(self, mesh: str, module: str, *states: str) -> dict[str, Any]:
        """The module's status once it is in one of `states`."""

        def reached() -> dict[str, Any] | None:
            status = self.modules(mesh)[module]
            return status if status["state"] in states else None

        found: dict[str, Any] = wait_for(reached, f"{module} never {states}; {self.log()}")
        return found

    def share(self, kept: Path) -> None:
        """Make environments where others make them, too: they take gigabytes and minutes."""
        lib = self.root / "a" / "lib"
        lib.mkdir(parents=True)
        for name in ("environments", "wheels"):
            (kept / name).mkdir(exist_ok=True)
            (lib / name).symlink_to(kept / name)

    # --- the agent -----------------------------------------------------------------------------

    @property
    def agent_pid(self) -> int | None:
        """Of the agent that serves the root now."""
        path = self.root / "a" / "run" / "agent.pid"
        try:
            pid = int(path.read_text())
        except (OSError, ValueError):
            return None
        return pid if _alive(pid) else None

    def serve(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start an agent in the foreground of nothing; returns when it answers."""
        command = [BIN / "otter-agent", "serve", "--root", self.root / "a", "--docker", self.docker]
        with (self.root / "agent.log").open("ab") as log:
            child = subprocess.Popen(
                [*map(str, command), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=self.env,
            )  # fmt: skip
        self._agents.append(child)
        path = self.root / "a" / "run" / "agent.sock"  # a killed predecessor's may still be there

        def served() -> bool:
            assert child.poll() is None, f"the agent ended with {child.returncode}: {self.log()}"
            return self.agent_pid == child.pid and _is_served(path)

        wait_for(served, "no agent")
        return child

    def kill_agent(self) -> None:
        """SIGKILL the agent, as a crash."""
        pid = self.agent_pid
        assert pid is not None, "no agent runs"
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not _alive(pid), "the killed agent")

    def log(self) -> str:
        """The end of the agent's log."""
        texts = [
            path.read_text(errors="replace")[-4000:]
            for path in (self.root / "a" / "run" / "agent.log", self.root / "agent.log")
            if path.exists()
        ]
        return "\n".join(texts)

    # --- the end -------------------------------------------------------------------------------

    @property
    def agent_id(self) -> str:
        """The id in all names that the agent makes; "" before it first ran."""
        import sqlite3

        path = self.root / "a" / "lib" / "state.sqlite"
        if not path.exists():
            return ""
        with sqlite3.connect(path) as database:
            row = database.execute("SELECT value FROM meta WHERE key='agent'").fetchone()
        return str(row[0]) if row else ""

    def leftovers(self, mesh: str | None = None) -> list[str]:
        """Namespaces, cgroups and folders that still exist of a mesh (None: of any)."""
        agent = self.agent_id
        if not agent:
            return []
        mark = f"otter-{agent}"
        found = [str(p) for p in Path("/run/netns").glob(f"{mark}*")]
        for top in (CGROUPS, *CGROUPS.iterdir()):  # v2, or one hierarchy per controller
            found += [str(p) for p in (top / mark).glob("*") if p.is_dir()]
        found += [str(p) for p in (self.root / "a" / "lib" / "meshes").glob("*")]
        return [f for f in found if mesh is None or mesh in f]

    def containers(self, engine: Any) -> list[str]:
        """Names of this agent's containers on a `Dockerd`, in whatever state."""
        shown = engine.request("GET", "/containers/json?all=1")
        mine = [c for c in shown if c["Labels"].get("otter.agent") == self.agent_id]
        return sorted(name for c in mine for name in c["Names"])

    def processes(self) -> list[int]:
        """Processes that work in this root: agent, launcher, and what they started."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                facts = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            except OSError:
                continue
            if str(self.root).encode() in facts and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        return found

    def meshes_processes(self) -> list[int]:
        """Processes of modules: all of this root's but what is OTTER's own."""
        own = {
            "otter_agent.launcher", "otter_agent.network.outside", "otter_agent.links.tun", "serve",
            "otter_agent.links.netem.playing",
            "otter_agent.gpu",
        }  # fmt: skip
        return [pid for pid in self.processes() if not own & set(command_line(pid))]

    def close(self) -> None:
        """Destroy all meshes, end the agent, and check that nothing is left."""
        try:
            if (self.root / "a").exists():
                if self.agent_pid is None:
                    self.serve()
                for mesh in self.json("ls"):
                    self("destroy", "-m", mesh["mesh"], "--yes", "--no-fetch")
                left = self.leftovers()
                pid = self.agent_pid
                assert pid is not None
                os.kill(pid, signal.SIGTERM)
                wait_for(lambda: not _alive(pid), f"the agent never ended; {self.log()}")
                for child in self._agents:
                    child.wait(DEADLINE_S)
                wait_for(lambda: not self.processes(), f"left running: {self.processes()}")
                assert left == []
                assert f"{self.root}/" not in Path("/proc/self/mountinfo").read_text()
        finally:
            self._kill_what_is_left()
            shutil.rmtree(self.root, ignore_errors=True)

    def _kill_what_is_left(self) -> None:
        """Whatever went wrong, nothing of this root's outlives its test."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self._agents:
            child.wait(DEADLINE_S)


def kill_within(otter: Otter, seconds: float, *arguments: object) -> None:
    """Start a verb and kill the agent when `seconds` have passed, or the verb has ended."""
    verb = otter.popen(*arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        verb.wait(seconds)
    if otter.agent_pid is not None:
        otter.kill_agent()
    verb.wait(60)


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def command_line(pid: int) -> Sequence[str]:
    """The words of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return ()
