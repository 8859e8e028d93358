"""Finds this machine's agent, or an ordinary user's own, and starts one where none answers.

Must not know: topology, HTTP.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from otter_ctl.errors import AgentNotStarted
from otter_ctl.secrets import environment_of_agent
from otter_ctl.system import no_agent, where_instead

if TYPE_CHECKING:  # `otterctl --help` shouldn't pay for msgspec
    from otter_agent.api import Info
    from otter_agent.api.places import Places

IDLE_EXIT_S = 60
"""An agent that `apply` started ends this long after its last mesh."""
START_DEADLINE_S = 20.0
SOCKET = "agent.sock"
_EXIT_IN_USE = 3
"""Of `otter-agent serve`: another one serves that root."""
_AGAIN_S = 1.0
"""One that serves but doesn't answer by then is ending: try again."""


def _answers(run: Path) -> bool:
    if no_agent():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(run / SOCKET))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class LocalAgent:
    """Where the agent of this machine is to be found.

    Attributes:
        root: Its `--root`; None: the default one.
        docker: Its Docker engine; None: `DOCKER_HOST`, else the default socket.
    """

    root: Path | None = None
    docker: str | None = None

    @functools.cached_property
    def _places(self) -> Places:
        """An ordinary user's own agent, unless it isn't there and the machine's lets them in."""
        from otter_agent.api.places import HOLDER, MACHINE, places_of, strangers

        if no_agent():
            return MACHINE
        own = places_of(self.root, os.geteuid(), os.environ)
        if os.geteuid() and (why := strangers(own.run, os.geteuid())):
            hint = "XDG_RUNTIME_DIR, or --root, has to name a folder of yours"
            raise AgentNotStarted("local", why, hint=hint)
        if own == MACHINE or self.root or (own.run / HOLDER).exists() or not _answers(MACHINE.run):
            return own
        return own if _answers(own.run) else MACHINE

    @property
    def run(self) -> Path:
        """The folder of its socket."""
        return self._places.run

    @property
    def socket(self) -> Path:
        """Its API."""
        return self.run / SOCKET

    @property
    def ran_before(self) -> bool:
        """Whether an agent with this root has left its state: there may be meshes."""
        return not no_agent() and (self._places.lib / "state.sqlite").exists()

    def answers(self) -> bool:
        """Whether somebody listens at the socket."""
        return _answers(self.run)

    def _command(self, verb: str) -> list[str]:
        command = [sys.executable, "-m", "otter_agent", verb]
        if self.root:
            command += ["--root", str(self.root.absolute())]
        if self.docker:
            command += ["--docker", self.docker]
        return command

    def start(self) -> tuple[int, bool]:
        """Start an agent in the background; returns once it answers.

        Two who try at once get the same one: the other's has ended by itself.

        Returns:
            Its pid, and whether it is the one that was started here.

        Raises:
            AgentNotStarted: It ended, or didn't answer in time; carries what it printed. Or this
                system can have none.
        """
        if why := no_agent():
            raise AgentNotStarted("local", why, hint=where_instead())
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            begin = self._log.stat().st_size if self._log.exists() else 0
            child = self._spawn()
        except OSError as error:
            hint = "run as root, or keep everything in a folder of yours: otterctl --root DIR …"
            raise AgentNotStarted("local", f"{self.run}: {error.strerror}", hint=hint) from error
        started = time.monotonic()
        deadline = started + START_DEADLINE_S
        while not self.answers():
            ended = child.poll()
            if ended not in (None, _EXIT_IN_USE) or time.monotonic() > deadline:
                child.kill()
                child.wait()
                said = self._said(begin) or f"exit status {ended}"
                raise AgentNotStarted(
                    "local",
                    f"otter-agent did not start: {said}",
                    hint=f"its log: {self._log}; see also `otterctl doctor`",
                )
            if ended is not None and time.monotonic() > started + _AGAIN_S:
                started, child = time.monotonic(), self._spawn()  # the other one was ending
            time.sleep(0.02)
        pid = int((self.run / "agent.pid").read_text(encoding="ascii"))
        return pid, pid == child.pid

    @property
    def _log(self) -> Path:
        return self.run / "agent.log"

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._command("serve"), "--idle-exit", str(IDLE_EXIT_S)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=environment_of_agent(os.environ),
                cwd="/",
            )

    def _said(self, begin: int) -> str:
        text = self._log.read_bytes()[begin:].decode(errors="replace")
        return text.strip().splitlines()[-1] if text.strip() else ""

    def facts(self) -> Info | None:
        """What an agent here would say of this machine; starts none. None: it can't be told."""
        if no_agent():
            return None
        from otter_agent.api import Info as Facts
        from otter_agent.api import decode

        done = subprocess.run(
            self._command("facts"), capture_output=True, check=False, timeout=60, cwd="/"
        )
        try:
            return decode(done.stdout, Facts)
        except ValueError:
            return None
