"""What an apply shows meanwhile: lines, and on a terminal a last one that is drawn again."""

import os
import pty
from types import SimpleNamespace

from otter_agent import api
from otter_ctl.cli import events
from otter_ctl.cli.progress import Progress
from otter_ctl.cli.status import show_failures


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


def test_images_under_way_move_the_bar_and_are_no_lines(capsys):
    moving = api.Event(
        seq=1, time=0.0, mesh="m", kind="image", subject="a", text="1 MB", data={"under_way": True}
    )
    with Progress(["a"]) as progress:
        progress(moving)
        progress(event("a", "", "2 of 3 layers", kind="image"))
    assert capsys.readouterr().err == "a: image: 2 of 3 layers\n"


def test_elsewhere_there_are_plain_lines(capsys):
    play(Progress(["a", "b"]))
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in shown] == ["a", "a", "a"]
    assert shown[1] == "a: running (waits for its port)"
    assert not any("\r" in line or line.startswith("[") for line in shown)


def test_quiet_is_quiet(capsys):
    play(Progress(["a", "b"], quiet=True))
    assert capsys.readouterr().err == ""


def test_what_modules_and_machines_say_orders_no_terminal_about(capsys):
    """What a build or a module prints becomes events, reasons, last lines of logs."""
    order = "\x1b]52;c;eA==\x07"
    with Progress(["a"]) as progress:
        progress(event("a", "", f"step 1{order}", kind="image"))
        progress(event("a", "failed", f"no{order}"))
    status = SimpleNamespace(modules=[SimpleNamespace(name="a", log_tail=[f"last{order}"])])
    show_failures(status)
    print(events._text(event("a", "failed", f"no{order}")))
    shown = "".join(capsys.readouterr())
    assert shown.count("eA==") == 4
    assert not {"\x1b", "\x07"} & {*shown}
