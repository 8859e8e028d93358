"""What runs on an emulated machine, kept running as systemd would: sshd, dockerd, otter-agent.

The machine's pid 1 does nothing else but that, and takes care of orphans. The lab asks it for a
service to be stopped or started through a socket: a line each, `stop docker`, answered by a line.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
AGAIN_S = (0.1, 0.5, 2.0, 5.0)
"""A service that has ended starts again after the first of these, then the next; the last stays."""
GRACE_S = 15.0
"""An engine gives its containers 10 s."""
LOGS = Path("/var/log")
BOOT_SCRIPTS = "/etc/rc2.d"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a machine's first process is told: settings.json in the machine's folder.

    Attributes:
        name: Its host name.
        layers: Folders that it sees as if installed.
        hosts: The file that is its /etc/hosts.
        services: Name -> command line.
        env: Variables that services have beside the usual ones.
    """

    name: str
    layers: list[str] = field(default_factory=list)
    hosts: str = ""
    services: dict[str, list[str]] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


def read_settings(folder: Path) -> Settings:
    """Of one machine."""
    return Settings(**json.loads((folder / "settings.json").read_text()))


def write_settings(folder: Path, settings: Settings) -> None:
    """For one machine."""
    (folder / "settings.json").write_text(json.dumps(asdict(settings)))


def ask(folder: Path, request: str) -> str:
    """One request to a machine's first process; its answer. Raises OSError: it is off."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(3 * GRACE_S)
        descriptor = os.open(folder, os.O_PATH)
        try:
            connection.connect(f"/proc/self/fd/{descriptor}/control")
        finally:
            os.close(descriptor)
        connection.sendall(f"{request}\n".encode())
        return connection.makefile().readline().strip()


@dataclass(slots=True)
class _Service:
    """One of them.

    Attributes:
        pid: 0: it doesn't run.
        due: When it is to be started; None: it isn't.
        tries: How often it has ended by itself in a row.
        asker: Who waits for its end.
    """

    argv: list[str]
    pid: int = 0
    started: float = 0.0
    due: float | None = 0.0
    tries: int = 0
    kill_at: float | None = None
    asker: socket.socket | None = None


class Services:
    """All services of a machine.

    Args:
        settings: Which.
        control: Where requests come in.
    """

    def __init__(self, settings: Settings, control: socket.socket) -> None:
        self._env = {**environment(), **settings.env}
        self._services = {name: _Service(argv) for name, argv in settings.services.items()}
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken, control):
            end.setblocking(False)

    def __enter__(self) -> Self:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken.fileno())
        self._selector.register(self._control, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake, selectors.EVENT_READ, self._reap)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._selector.close()

    def run(self) -> None:
        """For ever."""
        _run_boot_scripts(self._env)
        while True:
            self._act()
            for key, _ in self._selector.select(self._pause()):
                key.data(key.fileobj)

    def _pause(self) -> float | None:
        times = [t for s in self._services.values() for t in (s.due, s.kill_at) if t is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _act(self) -> None:
        now = time.monotonic()
        for name, service in self._services.items():
            if service.due is not None and service.due <= now:
                service.due, service.started = None, now
                service.pid = _spawn(name, service.argv, self._env)
            if service.kill_at is not None and service.kill_at <= now:
                service.kill_at = None
                os.kill(service.pid, signal.SIGKILL)

    def _reap(self, wake: socket.socket) -> None:
        with suppress(BlockingIOError):
            wake.recv(4096)
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for service in self._services.values():
                if service.pid == pid:
                    self._ended(service)

    def _ended(self, service: _Service) -> None:
        service.pid, service.kill_at = 0, None
        if service.asker is not None:
            _answer(service.asker, "stopped")
            service.asker = None
            return
        now = time.monotonic()
        service.tries = 0 if now - service.started > 2 * AGAIN_S[-1] else service.tries + 1
        service.due = now + AGAIN_S[min(service.tries, len(AGAIN_S)) - 1 if service.tries else 0]

    def _accept(self, control: socket.socket) -> None:
        connection, _ = control.accept()
        connection.settimeout(1.0)
        try:
            words = connection.recv(256).decode().split()
        except OSError:
            connection.close()
            return
        self._request(connection, words)

    def _request(self, connection: socket.socket, words: list[str]) -> None:
        if words == ["state"]:
            states = {name: bool(s.pid) for name, s in self._services.items()}
            _answer(connection, json.dumps(states))
            return
        service = self._services.get(words[1]) if len(words) == 2 else None
        if service is None:
            _answer(connection, f"no such service; there are {', '.join(self._services)}")
        elif words[0] == "start":
            if not service.pid:
                service.due, service.tries = time.monotonic(), 0
            _answer(connection, "started")
        elif not service.pid or service.asker is not None:
            service.due = None
            _answer(connection, "stopped")
        else:
            service.asker, service.kill_at = connection, time.monotonic() + GRACE_S
            os.kill(service.pid, signal.SIGTERM)


def _answer(connection: socket.socket, text: str) -> None:
    with connection, suppress(OSError):
        connection.sendall(f"{text}\n".encode())


def _spawn(name: str, argv: list[str], env: Mapping[str, str]) -> int:
    with (LOGS / f"{name}.log").open("ab") as log:
        try:
            # Not waited for by Popen: the first process waits for all.
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=env,
                cwd="/",
            )
        except OSError as error:
            log.write(f"{argv[0]}: {error.strerror}\n".encode())
            return 0
    child.returncode = 0
    return child.pid


def environment() -> Mapping[str, str]:
    """What services of a machine start with."""
    return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def _run_boot_scripts(env: Mapping[str, str]) -> None:
    """What was installed for the boot: links of /etc/rc2.d that this machine has made itself."""
    scripts = Path(BOOT_SCRIPTS)
    for script in sorted(scripts.glob("S*otter*")):
        subprocess.Popen(
            [str(script), "start"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=env,
        ).returncode = 0
