"""`otterctl exec` as a user at a terminal has it: keys, window, and the terminal afterwards."""

from __future__ import annotations

import os
import signal

import pytest
from helpers.otter import wait_for
from helpers.window import Window, installed

pytestmark = pytest.mark.netns

MESH = """
name = "term"
[hosts.a]
[modules.m]
host = "a"
command = ["sleep", "1000"]
env = { OWN = "1" }
"""


@pytest.fixture(params=["process", "docker"])
def otter(request):
    """A mesh of one module that sleeps, in each runtime."""
    if request.param == "docker":
        image = f'image = "{request.getfixturevalue("busybox_image")}"\n'
        one = request.getfixturevalue("docker_otter")
    else:
        image, one = "", request.getfixturevalue("shared_otter")
    one("apply", one.topology(MESH + image + f'runtime = "{request.param}"\n'))
    return one


def window(otter, *arguments: object) -> Window:
    return Window([installed("otterctl"), "exec", *arguments], otter.env)


def test_a_shell_with_keys_window_and_status(otter):
    with window(otter, "m") as screen:
        screen.shows(rb"[$#] ")
        assert screen.raw
        screen.type(b"tty; stty size; echo v=$OWN,$TERM\n")
        screen.shows(rb"/dev/pts/\d+|/dev/console")
        screen.shows(rb"31 97\r")
        screen.shows(rb"v=1,xterm-256color")
        screen.resize(12, 40)
        screen.type(b"while [ \"$(stty size)\" != '12 40' ]; do :; done; echo now-$((1+1))\n")
        screen.shows(rb"now-2")
        screen.type(b"sleep 987654; echo said-$?\n")
        wait_for(lambda: running(b"sleep\x00987654"), "sleep never ran")
        screen.type(b"\x03")
        wait_for(lambda: not running(b"sleep\x00987654"), "Ctrl-C never came")
        screen.type(b"\n\n")
        screen.type(b"exit 42\n")
        assert screen.ends() == 42
        assert screen.restored


def running(command: bytes) -> bool:
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if file.read().startswith(command):
                    return True
        except OSError:
            continue
    return False


def test_a_program_that_draws(otter):
    """An editor's way: raw keys, the alternate screen, arrows."""
    script = "stty raw -echo; printf 'on\\033[?1049h'; head -c 6 | od -An -tx1; printf 'off'"
    with window(otter, "-it", "m", "--", "sh", "-c", script) as screen:
        screen.shows(rb"on\x1b\[\?1049h")
        screen.type(b"\x1b[A")
        screen.type(b"\x03\x1a\x04")
        screen.shows(rb"1b 5b 41 03 1a 04")
        assert screen.ends() == 0
        assert screen.restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_given_back_when_the_command_is_ended(otter, number):
    with window(otter, "m", "--", "sh", "-c", "stty -echo; echo up; sleep 876543") as screen:
        screen.shows(rb"up")
        assert screen.raw
        screen.program.send_signal(number)
        assert screen.ends() == 130
        assert screen.restored
    wait_for(lambda: not running(b"sleep\x00876543"), "it was left running")


def test_what_is_not_a_terminal_stays_none(otter):
    done = otter("exec", "m", "--", "sh", "-c", "test -t 1 || echo none; echo bad >&2")
    assert (done.stdout, done.stderr) == ("none\n", "bad\n")
    done = otter("exec", "-t", "m", "--", "sh", "-c", "test -t 0 && stty size", stdin="")
    assert done.stdout == "24 80\n"  # \r\n, read as text
    done = otter("exec", "-t", "m", "--", "cat", stdin="typed\n")
    assert done.stdout == "typed\ntyped\n"


def test_variables_folder_and_user(otter, monkeypatch):
    otter.env["FROM_HERE"] = "2"
    script = "echo $OWN $MORE $FROM_HERE $NOT_SET $(pwd) $(id -u)"
    done = otter("exec", "-e", "MORE=a b", "-e", "FROM_HERE", "-e", "NOT_SET", "-w", "/tmp",
                 "-u", "12345", "m", "--", "sh", "-c", script)  # fmt: skip
    assert done.stdout == "1 a b 2 /tmp 12345\n"
    assert "is not absolute" in otter("exec", "-w", "x", "m", "--", "true", code=1).stderr
    otter("exec", "-e", "=x", "m", "--", "true", code=2)


def test_what_cannot_be_run_says_why(otter):
    """Not that no agent answers: it does."""
    otter("stop", "m")
    for arguments in (("m",), ("m", "--", "true"), ("-t", "m", "--", "true")):
        assert "term/m: " in (said := otter("exec", *arguments, code=1).stderr), said
        assert "not running" in said
    otter("start", "m")
    done = otter("exec", "-u", "nobody-of-that-name", "m", "--", "true", code=None)
    assert done.returncode in (1, 126)  # 126: the engine's word
    assert "nobody-of-that-name" in done.stdout + done.stderr
    assert "no agent answers" not in done.stderr


def test_a_killed_agent_gives_the_terminal_back(otter):
    """A program that draws leaves its screen, too."""
    with window(otter, "m", "--", "sh", "-c", "printf 'up\\033[?1049h'; sleep 765432") as screen:
        screen.shows(rb"up")
        otter.kill_agent()
        assert screen.ends() == 1
        assert screen.restored
        screen.shows(rb"\x1b\[\?1049l")
        screen.shows(rb"the connection broke|the agent went away")
    otter.serve()
    otter.wait_state("term", "m", "ready")


def test_a_module_without_a_shell_says_so(docker_otter, scratch_image):
    otter = docker_otter
    text = f'name = "bare"\n[hosts.a]\n[modules.m]\nhost = "a"\nimage = "{scratch_image}"\n'
    otter("apply", otter.topology(text))
    for arguments in ((), ("-t",)):
        done = otter("exec", *arguments, "m", code=1)
        assert "module m has no shell; name a program that it has: otterctl exec m" in done.stderr
    assert otter("exec", "-t", "m", "--", "/busybox", "echo", "yes").stdout == "yes\n"
