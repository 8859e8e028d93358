"""A private, real dockerd for tests: own folders, own socket, own cgroup; leaves nothing behind.

It gets neither a bridge nor iptables rules, so the machine's own network stays as it is.
Must not know: OTTER.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

START_S = 60.0
STOP_S = 30.0


def unavailable() -> str:
    """Why no dockerd can be started here; empty if one can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [name for name in ("dockerd", "containerd", "runc") if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


class Dockerd:
    """One engine. `with Dockerd() as engine: engine.url`.

    Args:
        live_restore: Containers survive a stop of the engine (not of this object).
    """

    def __init__(self, *, live_restore: bool = False) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="test-dockerd-", dir="/var/tmp"))
        self.socket = self.root / "docker.sock"
        self.url = f"unix://{self.socket}"
        self.log = self.root / "dockerd.log"
        self.cgroup = f"/{self.root.name}"
        self.live_restore = live_restore
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running dockerd."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def start(self) -> None:
        """Start it and wait until it answers."""
        config = self.root / "daemon.json"
        config.write_text(json.dumps({"live-restore": self.live_restore}))
        argv = [
            "dockerd",
            *("--config-file", str(config), "--host", self.url, "--pidfile", f"{self.root}/pid"),
            *("--data-root", f"{self.root}/data", "--exec-root", f"{self.root}/exec"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", self.cgroup),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
            "--bridge=none",
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _wait_for(self._answers, START_S, lambda: f"dockerd does not answer:\n{self._log_tail()}")

    def terminate(self) -> None:
        """SIGTERM; containers end with it unless `live_restore`."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a crash: containers go on by themselves until the next start."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it with all its containers, processes, mounts, cgroups and files."""
        try:
            if self.pid is None:
                self.start()  # only an engine can take down what a crashed one left
            for container in self.request("GET", "/containers/json?all=1"):
                path = f"/containers/{container['Id']}?force=1&v=1"
                self.request("DELETE", path, but=(404, 409))  # some go by themselves
            self.live_restore = False
            self.terminate()
        finally:
            self._sweep()

    def request(self, method: str, path: str, body: Any = None, but: Sequence[int] = ()) -> Any:
        """One API request; a tar (bytes) or JSON body; returns JSON, text, or None.

        An error fails the test, but for these.
        """
        connection = _UnixConnection(self.socket)
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, body=data, headers={"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status >= 400 and answer.status not in but:
            raise AssertionError(f"{method} {path}: {answer.status} {text}")
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    def import_image(self, tag: str, tar: bytes, *changes: str) -> str:
        """Make an image of one layer; `changes` are Dockerfile lines. Returns its id."""
        name, _, version = tag.rpartition(":")
        query = [("fromSrc", "-"), ("repo", name), ("tag", version)]
        query += [("changes", change) for change in changes]
        self.request("POST", f"/images/create?{urlencode(query)}", tar)
        return str(self.request("GET", f"/images/{tag}/json")["Id"])

    def tag(self, there: str, name: str) -> None:
        """Give an image another name."""
        repo, _, version = name.rpartition(":")
        self.request("POST", f"/images/{there}/tag?{urlencode({'repo': repo, 'tag': version})}")

    def build(self, tag: str, context: bytes) -> None:
        """Build a folder's tar by its Dockerfile, with this machine's network."""
        query = urlencode({"t": tag, "networkmode": "host"})
        said = self.request("POST", f"/build?{query}", context)
        assert "Successfully tagged" in str(said), said

    def __enter__(self) -> Dockerd:
        try:
            self.start()
        except BaseException:
            self._sweep()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _end(self, signum: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signum)
        self._process.wait(STOP_S)
        self._process = None
        self.socket.unlink(missing_ok=True)
        if signum == signal.SIGKILL:
            self._forget_containerd()

    def _forget_containerd(self) -> None:
        """It dies with a killed dockerd; unreaped, it would look alive to the next one."""
        record = self.root / "exec/containerd/containerd.pid"
        if record.exists():
            pid = int(record.read_text())
            _wait_for(lambda: not _is_running(pid), STOP_S, lambda: "containerd goes on")
            record.unlink()
        (self.root / "pid").unlink(missing_ok=True)

    def _sweep(self) -> None:
        """What is left after a proper end is nothing; after a failure it is killed here."""
        try:
            _wait_for(lambda: not self._processes(), STOP_S, lambda: f"left: {self._processes()}")
        finally:
            for pid in self._processes():
                os.kill(pid, signal.SIGKILL)
            _wait_for(lambda: not self._processes(), STOP_S, lambda: "processes that won't die")
            if self._process is not None:
                self._process.wait(STOP_S)
            _unmount_below(self.root)
            shutil.rmtree(self.root)
            _remove_cgroups(self.root.name)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"dockerd ended at once:\n{self._log_tail()}")
        try:
            return self.request("GET", "/_ping") == "OK"
        except (OSError, http.client.HTTPException):
            return False

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def _processes(self) -> set[int]:
        """Those whose command line names our folder (dockerd, its helpers), and containers."""
        mark = str(self.root).encode()
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
        for top in _cgroup_trees():
            for folder, _, _ in os.walk(top / self.root.name):
                with contextlib.suppress(OSError):  # it has gone
                    text = Path(folder, "cgroup.procs").read_text()
                    found.update(int(pid) for pid in text.split())
        return found - {os.getpid()}


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _wait_for(condition: Callable[[], bool], within_s: float, complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(complaint())
        time.sleep(0.02)  # dockerd tells nobody when it is ready: poll


def _unmount_below(root: Path) -> None:
    with open("/proc/self/mounts") as mounts:
        points = [line.split()[1] for line in mounts]
    for point in sorted((p for p in points if p.startswith(str(root))), reverse=True):
        subprocess.run(["umount", "-l", point], check=True)


def _cgroup_trees() -> list[Path]:
    return [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]


def _remove_cgroups(name: str) -> None:
    for top in _cgroup_trees():
        for folder, _, _ in os.walk(top / name, topdown=False):
            os.rmdir(folder)
