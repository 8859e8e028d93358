"""An ordinary user of this machine, without any capability, and `otterctl` as that user runs it.

Made for one test and gone after it: an entry in /etc/passwd that only the user's own mount
namespace shows, where the Python of these tests can be reached, and /dev/net/tun opened. Nothing
falls back to root: what is run here has the user's id from its first instruction on.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from helpers.otter import BIN, wait_for

ROOT = Path(__file__).parents[2]
_numbers = itertools.count()
_SETUP = r"""
set -e
mount --make-rprivate /
hold=$1 home=$2 line=$3 tun=$4; shift 4
mount -t tmpfs -o mode=755 otter-test "$hold"
# What lies below a folder that others may not enter is shown again, with only the way there.
n=0
for pair; do
    top=${pair%%:*} needed=${pair#*:}
    mkdir "$hold/$n"; mount --rbind "$needed" "$hold/$n"; n=$((n + 1))
done
n=0
for pair; do
    top=${pair%%:*} needed=${pair#*:}
    case " $covered " in *" $top "*) ;; *) mount -t tmpfs -o mode=755 otter-test "$top" ;; esac
    covered="$covered $top"
    mkdir -p "$needed"; mount --rbind "$hold/$n" "$needed"; n=$((n + 1))
done
cp /etc/passwd "$hold/passwd"; echo "$line" >>"$hold/passwd"
mount --bind "$hold/passwd" /etc/passwd
mkdir "$hold/net"; mknod "$hold/net/tun" c 10 200; chmod "$tun" "$hold/net/tun"
mkdir -p /dev/net; mount --bind "$hold/net" /dev/net
echo ready
exec cat
"""


class Ordinary:
    """A user with a home, a session's XDG_RUNTIME_DIR, and a mount namespace to be found by.

    Args:
        tun: Mode of /dev/net/tun.
        setup: Further commands of root's in the user's mount namespace, before anything runs.
        set_uid: Let programs that are somebody else's take effect, as on any machine.
    """

    def __init__(self, *, tun: str = "666", setup: str = "", set_uid: bool = False) -> None:
        self._bounds = () if set_uid else ("--bounding-set=-all",)
        self.uid = 200_000 + os.getpid() % 10_000 * 100 + next(_numbers)
        self.name = f"otter{self.uid}"
        self.home = Path(tempfile.mkdtemp(prefix="otter-user-"))
        self.run = self.home / "run" / "otter"
        self._hold = Path(tempfile.mkdtemp(prefix="otter-hold-"))
        for folder in (self.home, self.home / "run"):
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chown(folder, self.uid, self.uid)
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "NO_COLOR": "1",
            "XDG_RUNTIME_DIR": str(self.run.parent), "OTTER_RUNS": str(self.home / "runs"),
            "OTTER_DOCKER": f"unix://{self.home}/no-engine.sock", "USER": self.name,
        }  # fmt: skip
        self.after = ExitStack()
        """What is to be undone once nothing of the user's runs any more."""
        self.before: Callable[[], None] | None = None
        """Called in each process of the user's before it is the user's."""
        line = f"{self.name}:x:{self.uid}:{self.uid}::{self.home}:/bin/sh"
        script = _SETUP.replace("echo ready", f"{setup}\necho ready")
        self._place = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, "sh",
             self._hold, self.home, line, tun, *_hidden()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._place.stdout is not None
        said = self._place.stdout.readline()
        assert said == b"ready\n", said

    def words(self, argv: Sequence[object], uid: int | None = None) -> list[str]:
        """What runs a command as the user (or as another one), in the user's mount namespace."""
        number = str(self.uid if uid is None else uid)
        return [
            "nsenter", f"--mount=/proc/{self._place.pid}/ns/mnt", f"--wdns={self.home}",
            "setpriv", "--reuid", number, "--regid", number, "--clear-groups",
            "--inh-caps=-all", *self._bounds, *map(str, argv),
        ]  # fmt: skip

    def sh(
        self, *argv: object, code: int | None = 0, uid: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command; `code`: the exit status to insist on."""
        done = subprocess.run(
            self.words(argv, uid), env=self.env, capture_output=True, text=True, check=False,
            timeout=120, preexec_fn=self.before, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if code is not None:
            said = f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.log()}"
            assert done.returncode == code, said
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def __call__(self, *arguments: object, code: int | None = 0) -> Any:
        """Run `otterctl`."""
        return self.sh(BIN / "otterctl", *arguments, code=code)

    def json(self, *arguments: object, code: int | None = 0) -> Any:
        """Run a verb with `--json`; its one document."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def inside(self, *argv: object) -> str:
        """What a command prints in the namespaces of the user's agent."""
        return str(self.sh(BIN / "otter-agent", "enter", "--", *argv).stdout)

    @contextmanager
    def machines_agent(self) -> Iterator[None]:
        """An agent of root's with its usual folders, as this user sees them; open to all."""
        socket = Path(f"/proc/{self._place.pid}/root/run/otter/agent.sock")
        agent = subprocess.Popen(
            ["nsenter", f"--mount=/proc/{self._place.pid}/ns/mnt", BIN / "otter-agent", "serve"],
            env=self.env, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(socket.exists, "no agent")
            socket.chmod(0o666)
            yield
        finally:
            agent.terminate()
            agent.wait(20)

    def topology(self, text: str) -> Path:
        """Write a topology file."""
        path = self.home / "topology.toml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def modules(self) -> dict[str, dict[str, Any]]:
        """Status of the modules of the one mesh, by name."""
        return {m["name"]: m for m in self.json("status")["modules"]}

    def pid_of(self, what: str) -> int:
        """Of the agent (`serve`) or another process of OTTER's, by a word of its command line."""
        (pid,) = [pid for pid, words in self.processes().items() if what in words]
        return pid

    def kill(self, what: str) -> None:
        """SIGKILL it, and wait until it is gone."""
        pid = self.pid_of(what)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: pid not in self.processes(), f"{what} is still there")

    def processes(self) -> dict[int, list[str]]:
        """All of this user's, with their words; zombies don't count."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if folder.stat().st_uid == self.uid:
                    words = (folder / "cmdline").read_text().split("\0")
                    found[int(folder.name)] = words
            except OSError:
                continue
        return {pid: words for pid, words in found.items() if words != [""]}

    def log(self) -> str:
        """The end of the agent's log."""
        path = self.run / "agent.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def close(self) -> None:
        """Destroy all meshes, end the agent, and check that nothing of the user's is left."""
        try:
            for mesh in self.json("ls") if (self.run / "agent.sock").exists() else ():
                self("destroy", "-m", mesh["mesh"], "--yes", "--no-fetch")
            for pid, words in self.processes().items():
                if "serve" in words:
                    os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not self.processes(), f"left running: {self.processes()}", 20)
            left = [*self.home.rglob("*.sock"), *(self.home / ".local").rglob("meshes/*")]
            assert left == []
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            self._place.communicate()
            shutil.rmtree(self.home, ignore_errors=True)
            self._hold.rmdir()


def _hidden() -> list[str]:
    """`TOP:NEEDED` for what this Python needs below a folder that only its owner may enter."""
    found = []
    for needed in dict.fromkeys((Path(sys.base_prefix), ROOT, BIN.parent)):
        closed = [p for p in (needed, *needed.parents) if p.stat().st_mode & 0o5 != 0o5]
        if closed and closed[-1] != needed:
            found.append(f"{closed[-1]}:{needed}")
    return found


@contextmanager
def ordinary(**how: Any) -> Iterator[Ordinary]:
    """An ordinary user for the length of a block."""
    with ExitStack() as after:
        user = Ordinary(**how)
        user.after = after
        try:
            yield user
        finally:
            user.close()
