"""Runs scripts on a machine, as the user who logs in or as root.

A password goes to sudo's standard input alone: it is in no command line, file or log.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from otter_ctl.errors import RemoteError
from otter_ctl.machine import staging
from otter_ctl.machine.facts import Facts, parse
from otter_ctl.machine.steps import Step, data
from otter_ctl.ssh import Done, Road

_REFUSED = (
    "incorrect password", "no password was provided", "a password is required",
    "incorrect authentication attempt", "authentication failed, try again",
)  # fmt: skip
_BARRED = (
    "not in the sudoers file", "is not allowed to execute", "may not run sudo",
    "afraid i can't do that",
)  # fmt: skip
"""What sudo and sudo-rs (Ubuntu 25.10 and newer) say, in small letters, of passwords and users."""

_BEGINS = "# here begins what the shell is to do"
_PASS_OVER = f"""\
while IFS= read -r line; do [ "$line" != '{_BEGINS}' ] || exec sh -s; done; exit 1"""
"""For sudo that asks for no password after all: else the shell would take it for a command."""
_AS_ROOT = "set -eu; cd /; umask 022"
"""Python looks for modules where it stands, and that would be the home of whoever logs in."""


class Elevated:
    """One machine's shell.

    Args:
        road: The way there.
        password: Asks for sudo's password; called once, if it is needed.
    """

    def __init__(self, road: Road, password: Callable[[], str]) -> None:
        self.road = road
        self._ask = password
        self._password: str | None = None

    async def facts(self) -> Facts:
        """What the machine is. Raises RemoteError."""
        done = await self._sh(data("probe.sh"))
        found = parse(done.stdout.decode(errors="replace"))
        if found is None:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise RemoteError(
                self.road.machine.name,
                f"a shell there doesn't do as it is told: {said[-1] if said else 'no answer'}",
                hint="is it a Linux machine, and may this user run commands?",
            )
        return found

    async def _sh(self, script: str) -> Done:
        """A short script, as whoever logs in; their own shell may be one of another kind (fish)."""
        return await self.road.run("sh -s", _whole(script, "").encode(), limit_s=60)

    async def do(self, step: Step, facts: Facts) -> None:
        """One step. Raises RemoteError that says which failed, and why."""
        script = _whole(step.script, _AS_ROOT)
        if not step.root or facts.root == "root":
            done = await self.road.run("sh -s", script.encode())
        elif facts.root == "sudo":
            done = await self.road.run("sudo -n sh -s", script.encode())
        elif facts.root == "password":
            done = await self._with_password(script)
        else:
            raise RemoteError(
                self.road.machine.name,
                f"{step.title}: needs root, and there is no sudo",
                hint="log in as root: otterctl machine add root@HOST",
            )
        if done.status != 0:
            text = f"{step.title}: {_why(done)}"
            raise RemoteError(self.road.machine.name, text, hint=step.hint)

    async def _with_password(self, script: str) -> Done:
        if self._password is None:
            self._password = self._ask()
        # -k: it reads the password even where it would remember an earlier one. Its words are told
        # apart, so they are to be English.
        done = await self.road.run(
            f"env LC_ALL=C sudo -k -S -p '' sh -c {shlex.quote(_PASS_OVER)}",
            f"{self._password}\n{_BEGINS}\n{script}".encode(),
        )
        said = done.stderr.decode(errors="replace").lower()
        if done.status != 0 and any(words in said for words in _REFUSED):
            user = self.road.target
            hint = "OTTER_SUDO_PASSWORD or SUDO_ASKPASS may say it"
            raise RemoteError(self.road.machine.name, f"sudo refuses {user}'s password", hint=hint)
        if done.status != 0 and any(words in said for words in _BARRED):
            hint = "log in as root, or be in group sudo there; with Docker there: --via docker"
            text = f"{self.road.target} may not use sudo there"
            raise RemoteError(self.road.machine.name, text, hint=hint)
        return done

    async def send(
        self, files: Sequence[tuple[str, bytes | Path]], say: Callable[[str], None]
    ) -> str:
        """Files to a folder of the user's over there; its path.

        What had come before a way was cut isn't sent again; `say` is told how much that is.

        Raises:
            MachineUnreachable: The way was cut: what has come stays for the next time.
            RemoteError: There is no room for them.
        """
        wanted = [(n, c.read_bytes() if isinstance(c, Path) else c) for n, c in files]
        made = await self._sh(staging.make(wanted))
        folder = made.last
        if made.status != 0 or not staging.FOLDER.fullmatch(folder):
            raise RemoteError(self.road.machine.name, f"no temporary folder: {_why(made)}")
        there = staging.compared(wanted, made.stdout.decode(errors="replace"))
        if there.come_bytes:
            say(f"go on: {there.come_bytes / 1e6:.1f} MB of that have come before")
        done = made
        for name, rest in there.rests():
            command = ["sh", "-c", 'cat >> "$1"', "sh", f"{folder}/{name}"]
            done = await self.road.run(shlex.join(command), rest)
            if done.status != 0:
                break
        if done.status == 0 and (archive := there.tar()):
            done = await self.road.run(f"tar -x -C {folder}", archive)
        if done.status != 0:
            await self.forget(folder)
            raise RemoteError(self.road.machine.name, f"packages can't be sent: {_why(done)}")
        return folder

    async def forget_all(self) -> None:
        """Remove whatever this user ever sent: what was interrupted has left it."""
        await self._sh(staging.OLD.format(""))

    async def forget(self, folder: str) -> None:
        """Remove what was sent."""
        await self.road.run(["rm", "-rf", folder], limit_s=60)


def _whole(script: str, options: str) -> str:
    """Read to its end before it begins, so that no command takes the rest for its input."""
    return f"{{\n{options}\n{script}\n}} </dev/null\n"


def _why(done: Done) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {done.status}"
