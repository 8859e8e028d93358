"""How scripts become root's: with a sudo that asks for a password, and one that doesn't."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otter_ctl.errors import MachineUnreachable, RemoteError
from otter_ctl.machine.elevate import Elevated
from otter_ctl.machine.facts import Facts, parse
from otter_ctl.machine.steps import Step
from otter_ctl.ssh import Done
from otter_ctl.topology.model import Machine

ASKS = """\
#!/bin/sh
IFS= read -r word
[ "$word" = right ] || { echo 'incorrect password' >&2; exit 1; }
"""
ASKS_NOTHING = "#!/bin/sh\n"
GOES_ON = """\
while [ $# -gt 0 ]; do
    case $1 in -k | -S | -n) shift ;; -p) shift 2 ;; *) break ;; esac
done
"""


class Here:
    """A way to this very machine, with a sudo that a test has written."""

    machine = Machine(name="here")
    target = "al@here"

    def __init__(self, folder: Path, sudo: str) -> None:
        self.lines: list[str] = []
        self._folder = folder
        (folder / "bin").mkdir(parents=True)
        path = folder / "bin/sudo"
        path.write_text(f'{sudo}{GOES_ON}exec "$@"\n')
        path.chmod(0o755)

    async def run(self, line: str, stdin: bytes = b"", **_: Any) -> Done:
        self.lines.append(line)
        env = {"PATH": f"{self._folder}/bin:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-c", f"umask 077; {line}"],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=self._folder,
            env=env,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def facts() -> Facts:
    found = parse("user=al\nuid=1000\nroot=password\nsystem=Linux\nend=yes\n")
    assert found is not None
    return found


@pytest.mark.parametrize("sudo", [ASKS, ASKS_NOTHING], ids=["asks", "asks nothing"])
async def test_the_password_is_no_command(tmp_path: Path, sudo: str) -> None:
    """Sudo may need none: by a fingerprint, or as its rules were changed meanwhile."""
    road = Here(tmp_path, sudo)
    said = tmp_path / "said"
    password = "right" if sudo == ASKS else f"touch {tmp_path}/leaked"
    shell = Elevated(road, lambda: password)  # type: ignore[arg-type]
    await shell.do(Step("look", f"pwd > {said}; umask >> {said}\n"), facts())
    assert said.read_text() == "/\n0022\n"
    assert not (tmp_path / "leaked").exists()
    assert not any(password in line for line in road.lines)


async def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    road = Here(tmp_path, ASKS)
    shell = Elevated(road, lambda: "wrong")  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match="refuses al@here's password"):
        await shell.do(Step("look", f"touch {tmp_path}/done\n"), facts())
    assert not (tmp_path / "done").exists()


SPEAKS_GERMAN = """\
#!/bin/sh
IFS= read -r word
[ "$word" = right ] || {
    if [ "$LC_ALL" = C ]; then echo 'sudo: 1 incorrect password attempt' >&2
    else echo 'sudo: 1 Fehlversuch bei der Passwort-Eingabe' >&2; fi
    exit 1
}
"""
RUST = """\
#!/bin/sh
while IFS= read -r word && [ "$word" != right ]; do
    echo 'sudo: Authentication failed, try again.' >&2
done
[ "$word" = right ] || { echo 'sudo: 3 incorrect authentication attempts' >&2; exit 1; }
"""


@pytest.mark.parametrize("sudo", [SPEAKS_GERMAN, RUST], ids=["in another language", "sudo-rs"])
async def test_any_sudos_words_for_a_wrong_password_are_known(tmp_path: Path, sudo: str) -> None:
    shell = Elevated(Here(tmp_path, sudo), lambda: "wrong")  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match="refuses al@here's password"):
        await shell.do(Step("look", "true\n"), facts())
    shell = Elevated(Here(tmp_path / "right", sudo), lambda: "right")  # type: ignore[arg-type]
    await shell.do(Step("look", "true\n"), facts())


@pytest.mark.parametrize(
    "words",
    [
        "al is not in the sudoers file.",
        "Sorry, user al is not allowed to execute '/bin/sh' as root on here.",
        "Sorry, user al may not run sudo on here.",
        "sudo: I'm sorry al. I'm afraid I can't do that",
    ],
)
async def test_who_may_not_use_sudo_is_told_what_else_there_is(tmp_path: Path, words: str) -> None:
    sudo = f'#!/bin/sh\nIFS= read -r word\necho "{words}" >&2; exit 1\n'
    shell = Elevated(Here(tmp_path, sudo), lambda: "right")  # type: ignore[arg-type]
    with pytest.raises(RemoteError, match="al@here may not use sudo there") as told:
        await shell.do(Step("look", "true\n"), facts())
    assert told.value.hint.startswith("log in as root, or be in group sudo there")
    assert told.value.hint.endswith("--via docker")


class Greets(Here):
    """Its user's shell has something to say to whoever logs in."""

    async def run(self, line: str, stdin: bytes = b"", **more: Any) -> Done:
        done = await super().run(line, stdin, **more)
        return replace(done, stdout=b"Welcome, al!\n" + done.stdout)


class Fish(Here):
    """Its user's shell knows no `{ … }`, as fish before version 4, and csh."""

    async def run(self, line: str, stdin: bytes = b"", **more: Any) -> Done:
        bare = re.sub(r"'[^']*'", "", line)
        if "{" in bare or "\n" in bare:
            said = b"fish: '{ ... }' is not supported for grouping commands"
            return Done(127, b"", said)
        return await super().run(line, stdin, **more)


async def test_whatever_shell_its_user_has_scripts_are_run_by_sh(tmp_path: Path) -> None:
    shell = Elevated(Fish(tmp_path, ASKS), lambda: "right")  # type: ignore[arg-type]
    folder = Path(await shell.send([("one.whl", b"content")], print))
    assert (folder / "one.whl").exists()
    await shell.do(Step("look", f"echo done > {tmp_path}/done\n"), facts())
    assert (tmp_path / "done").exists()
    shutil.rmtree(folder)


async def test_a_shell_that_greets_keeps_no_package_away(tmp_path: Path) -> None:
    shell = Elevated(Greets(tmp_path, ASKS_NOTHING), lambda: "")  # type: ignore[arg-type]
    folder = Path(await shell.send([("one.whl", b"content")], print))
    assert (folder / "one.whl").read_bytes() == b"content"
    shutil.rmtree(folder)


class Cut(Here):
    """It breaks once, while much is sent, after so many bytes."""

    after = 0
    sent = 0

    async def run(self, line: str, stdin: bytes = b"", **more: Any) -> Done:
        self.sent += len(stdin)
        if self.after and len(stdin) > self.after:
            await super().run(line, stdin[: self.after], **more)
            self.after = 0
            raise MachineUnreachable("here", "can't be reached by SSH: the connection broke")
        return await super().run(line, stdin, **more)


@pytest.mark.slow
async def test_what_came_before_a_cut_is_not_sent_again(tmp_path: Path) -> None:
    files = [(f"deps/{n}.whl", os.urandom(100_000)) for n in range(5)]
    road, told = Cut(tmp_path, ASKS_NOTHING), list[str]()
    shell = Elevated(road, lambda: "")  # type: ignore[arg-type]
    for cut in (250_000, 20_000):  # in the tar; in the rest of the file that it was in
        road.after = cut
        with pytest.raises(MachineUnreachable):
            await shell.send(files, told.append)
    road.sent = 0
    folder = Path(await shell.send(files, told.append))
    try:
        assert 150_000 < road.sent < 330_000
        assert [line.split(" MB")[0] for line in told] == ["go on: 0.2", "go on: 0.3"]
        assert all((folder / name).read_bytes() == content for name, content in files)

        (folder / "deps/1.whl").write_bytes(b"x" * 60_000)  # as of a disk that was full
        (folder / "deps/2.whl").write_bytes(b"x" * 100_000)
        (folder / "deps/3.whl").write_bytes(b"x" * 200_000)
        assert await shell.send(files, told.append) == str(folder)
        assert all((folder / name).read_bytes() == content for name, content in files)
        assert folder.stat().st_mode & 0o777 == 0o700
        folder.chmod(0o755)  # somebody else's may be so: nothing is put there
        other = Path(await shell.send(files, told.append))
        assert other != folder
        assert (other / "deps/4.whl").read_bytes() == files[4][1]
        shutil.rmtree(other)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
