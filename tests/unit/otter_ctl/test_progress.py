"""What an apply shows meanwhile: lines, and on a terminal a last one that is drawn again."""

import os
import pty

from otter_agent import api
from otter_ctl.cli.progress import Progress


def event(subject: str, state: str, text: str = "", kind: str = "module") -> api.Event:
    return api.Event(seq=1, time=0.0, mesh="m", kind=kind, subject=subject, text=text, state=state)


def play(progress: Progress) -> None:
    with progress:
        progress(event("a", "pending"))
        progress(event("a", "", "step 3 of 7\x1b[31m", kind="image"))
        progress(event("a", "running", "waits for its port"))
        progress(event("a", "ready"))


def test_a_terminal_has_a_bar_that_moves_and_goes(monkeypatch):
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stderr, monkeypatch.context() as patched:
        patched.setattr("sys.stderr", stderr)
        play(Progress(["a", "b"]))
        stderr.write("\nend")
    shown = ""
    while not shown.endswith("\r\nend"):  # a terminal gives what it has, not all
        shown += os.read(master, 1 << 16).decode()
    os.close(master)
    bars = [part for part in shown.split("\r\x1b[K") if part.startswith("[")]
    assert bars[0].startswith("[....................] 0/2")
    assert any("0/2 a: step 3 of 7[31m" in bar for bar in bars)  # nothing orders it about
    assert bars[-1].startswith("[##########..........] 1/2")
    assert shown.endswith("\r\x1b[K\r\nend")


def test_elsewhere_there_are_plain_lines(capsys):
    play(Progress(["a", "b"]))
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in shown] == ["a", "a", "a"]
    assert shown[1] == "a: running (waits for its port)"
    assert not any("\r" in line or line.startswith("[") for line in shown)


def test_quiet_is_quiet(capsys):
    play(Progress(["a", "b"], quiet=True))
    assert capsys.readouterr().err == ""
