"""An ordinary user's meshes where the kernel has netem and cgroup v2; and where it forbids them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from helpers.ordinary import Ordinary, ordinary
from helpers.otter import wait_for
from helpers.pings import round_trip_s

pytestmark = [pytest.mark.kernel, pytest.mark.netns]

CGROUPS = Path("/sys/fs/cgroup")
MAX = Path("/proc/sys/user/max_user_namespaces")
MESH = """
name = "mine"
[defaults.module]
runtime = "process"
[hosts.a]
cpu = 0.5
memory = "200MiB"
[hosts.b]
[[links]]
name = "radio"
between = ["a", "b"]
delay = "20ms"
rate = "10mbit"
[modules.near]
host = "a"
cpu = 0.2
command = ["sh", "-c", "echo begun; exec sleep 1000"]
[modules.far]
host = "b"
command = ["sleep", "1000"]
"""


def delegated(user: Ordinary) -> Path:
    """A part of the cgroup tree that is the user's, who starts in a group below it.

    That is what systemd makes of `Delegate=yes`.
    """
    given = CGROUPS / f"given-{user.uid}"
    (CGROUPS / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    for group in (given, given / "session"):
        group.mkdir()
        for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(group / name, user.uid, user.uid)

    def enter() -> None:
        (given / "session" / "cgroup.procs").write_text(str(os.getpid()))

    user.before = enter
    user.after.callback(remove, given / "session", given)
    return given


def remove(*groups: Path) -> None:
    """Nothing of OTTER's is in them. The kernel counts who has ended for a moment longer."""
    for group in groups:
        assert [path for path in group.iterdir() if path.is_dir()] == []
        wait_for(lambda group=group: gone(group), f"nobody is in {group}")


def gone(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def test_netem_and_budgets_without_root() -> None:
    with ordinary() as user:
        given = delegated(user)
        user("apply", user.topology(MESH))
        status = user.json("status")
        assert {link["driver"] for link in status["links"]} == {"netem"}
        host = status["hosts"][0]
        assert (host["in_force"]["cpu"], host["in_force"]["memory_bytes"]) == (0.5, 200 << 20)
        modules = {m["name"]: m for m in status["modules"]}
        assert modules["near"]["in_force"]["cpu"] == pytest.approx(0.2)
        (machine,) = status["machines"]
        assert "budgets" not in {line.split(":")[0] for line in machine["lacks"]}
        assert "begun" in user("logs", "near").stdout
        pinged = user("exec", "near", "--", "ping", "-c3", "-i0.1", "far")
        assert round_trip_s(pinged.stdout) >= 0.040
        user("shape", "link", "radio", "--delay", "60ms")
        rows = user.json("verify", "--quick", "--no-cpu", "--direction", "a>b", code=None)
        (delay,) = [row for row in rows if row["property"] == "delay"]
        # What ways of this kernel take by themselves is taken off, as it was at another moment.
        assert delay["measured"] >= 0.0595
        user.kill("serve")
        user("apply", user.topology(MESH))
        status = user.json("status")
        assert {m["pid"] for m in status["modules"]} == {m["pid"] for m in modules.values()}
        assert status["hosts"][0]["in_force"]["cpu"] == 0.5
        user("destroy", "--yes", "--no-fetch")
        assert user.inside("ls", "/run/netns") == ""
        assert not list(given.glob("otter-*/mine"))
        os.kill(user.pid_of("serve"), 15)
        wait_for(lambda: not user.processes(), "something of it still runs")


SCOPES = """#!/bin/sh
# As systemd-run does for --scope: a group of its own for this process, which becomes the command.
while [ "$1" != -- ]; do shift; done
shift
mkdir %(top)s/run-$$.scope && echo $$ >%(top)s/run-$$.scope/cgroup.procs && exec "$@"
"""


def scopes(user: Ordinary) -> None:
    """A login session whose group is root's, and a `systemd-run` that makes the user scopes."""
    top = CGROUPS / f"top-{user.uid}"
    (CGROUPS / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    (top / "session").mkdir(parents=True)
    (top / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    for name in ("", "cgroup.procs"):
        os.chown(top / name, user.uid, user.uid)
    tool = user.home / "bin/systemd-run"
    tool.parent.mkdir()
    tool.write_text(SCOPES % {"top": top})
    tool.chmod(0o755)
    user.env["PATH"] = f"{tool.parent}:{user.env['PATH']}"
    user.before = lambda: (top / "session/cgroup.procs").write_text(str(os.getpid())) and None
    user.after.callback(lambda: remove(*(path for path in top.iterdir() if path.is_dir()), top))


def test_a_scope_of_the_users_systemd_is_where_budgets_are() -> None:
    """Another agent begins in another scope, and adopts what the first one's has."""
    with ordinary() as user:
        scopes(user)
        user("apply", user.topology(MESH))
        user.kill("serve")
        user("apply", user.topology(MESH))
        status = user.json("status")
        assert {m["restarts"] for m in status["modules"]} == {0}
        in_force = status["hosts"][0]["in_force"]
        assert (in_force["cpu"], in_force["memory_bytes"]) == (0.5, 200 << 20)


def test_where_user_namespaces_are_forbidden_one_line_says_so() -> None:
    before = MAX.read_text()
    with ordinary() as user:
        MAX.write_text("0")
        try:
            refused = user("apply", user.topology(MESH), code=1)
            (check,) = [c for c in user.json("doctor", code=1)["checks"] if c["ok"] is False][:1]
        finally:
            MAX.write_text(before)
    (line,) = [x for x in refused.stderr.splitlines() if "max_user_namespaces" in x]
    assert "run as root, or have root allow it: sysctl -w user.max_user_namespaces=" in line
    assert "max_user_namespaces is 0" in check["mend"]
