"""Several users and controllers on one machine: who owns a mesh, who was first, what fits."""

from __future__ import annotations

import grp
import json
import os
import subprocess
from pathlib import Path

import pytest
from helpers.otter import BIN, DEADLINE_S

pytestmark = [pytest.mark.wide, pytest.mark.netns]

GUEST = 65534
"""nobody: has a name on every machine."""

ONE = """
name = "{name}"
{top}
[hosts.a]
{host}
[hosts.b]
[[links]]
name = "l"
between = ["a", "b"]
[modules.m]
runtime = "process"
host = "a"
command = ["sleep", "1000"]
env = {{ X = "{env}" }}
"""


def topology(otter, name="mine", env="1", host="", top="", file=None) -> Path:
    text = ONE.format(name=name, env=env, host=host, top=top)
    return otter.topology(text, file or f"{name}.toml")


class Guest:
    """`otterctl` as another user, whom root lets use the socket, as by its group.

    It may read all files (Python lies in root's home on some machines), and write none of others'.
    """

    def __init__(self, otter, id_=GUEST) -> None:
        self.otter = otter
        self.who = ("setpriv", f"--reuid={id_}", f"--regid={id_}", "--clear-groups",
                    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # fmt: skip
        self.home = otter.root / f"guest{id_}"
        self.home.mkdir()
        os.chown(self.home, id_, id_)
        otter.root.chmod(0o755)

    def let_in(self) -> None:
        os.chown(self.otter.root / "a" / "run" / "agent.sock", 0, GUEST)

    def __call__(self, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        env = {**self.otter.env, "OTTER_RUNS": str(self.home / "runs"), "HOME": str(self.home)}
        done = subprocess.run(
            [*self.who, BIN / "otterctl", *map(str, words)], env=env, capture_output=True,
            text=True, check=False, timeout=DEADLINE_S, cwd=self.home, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *words: object, code: int = 0):
        return json.loads(self(*words, "--json", code=code).stdout)


@pytest.fixture
def guest(otter):
    return Guest(otter)


def test_another_users_mesh_is_listed_and_left_alone(otter, guest):
    file = topology(otter)
    otter("apply", file)
    guest.let_in()
    before = otter.modules("mine")["m"]["pid"]

    (listed,) = guest.json("ls")
    assert (listed["mesh"], listed["owner"], listed["mine"]) == ("mine", "root", False)
    assert "root" in guest("ls").stdout
    assert guest.json("status")["owner"] == "root"
    assert "mesh mine of root" in guest("status").stdout
    guest("logs", "m")
    guest("plan", file)

    for words in (
        ("apply", file), ("apply", file, "--set", "modules.m.env.X=2"), ("stop", "m"),
        ("start", "m"), ("restart", "m"), ("destroy", "--yes"), ("exec", "m", "--", "true"),
        ("destroy", "--dry-run"), ("destroy", "-m", "mine", "--dry-run"),
        ("shape", "link", "l", "--delay", "1ms"), ("shape", "reset"), ("timeline", "reset"),
        ("verify", "l"), ("capture", "l", "--for", "1ms"),
    ):  # fmt: skip
        refused = guest(*words, code=1 if words != ("apply", file) else 0)
        if words != ("apply", file):  # nothing to change is nothing to refuse
            assert "mesh mine belongs to root" in refused.stderr
            assert "--force" in refused.stderr
    assert "left alone" in guest("destroy", "--all", "--yes").stderr
    assert otter.modules("mine")["m"]["pid"] == before

    assert guest("exec", "--force", "m", "--", "printenv", "X").stdout == "1\n"
    guest("restart", "m", "--force")
    guest("capture", "l", "--force", "--for", "1ms")
    assert otter.modules("mine")["m"]["pid"] != before
    guest("apply", file, "--force", "--set", "modules.m.env.X=2")
    status = otter.json("status")
    assert (status["owner"], status["changed_by"]) == ("root", "nobody")  # it stays root's
    guest("destroy", "--all", "--yes", "--force")
    assert otter.json("ls") == []


def test_a_group_that_the_configuration_names_keeps_the_socket(otter, guest):
    """Each agent makes a socket of its own: what was done to the last one's is gone with it."""
    file = otter.root / "a" / "agent.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'group = "{grp.getgrgid(GUEST).gr_name}"\n')
    for _ in range(2):
        otter.serve()
        socket = (otter.root / "a" / "run" / "agent.sock").stat()
        assert (socket.st_uid, socket.st_gid, socket.st_mode & 0o777) == (0, GUEST, 0o660)
        guest("apply", topology(otter, "theirs"))
        otter.kill_agent()
    otter.serve()
    Guest(otter, GUEST - 1)("apply", topology(otter, "strange"), code=1)
    assert [m["mesh"] for m in otter.json("ls")] == ["theirs"]
    guest("destroy", "--yes")
    otter.kill_agent()

    file.write_text('group = "no such group"\n')
    otter.serve()
    assert (otter.root / "a" / "run" / "agent.sock").stat().st_gid == os.getgid()
    assert "agent.toml: group: this machine has no group 'no such group'" in otter.log()


def test_root_is_asked_as_well(otter, guest):
    otter.serve()
    guest.let_in()
    guest("apply", topology(otter, "theirs"))
    otter("apply", topology(otter, "own"))
    refused = otter("stop", "-m", "theirs", "m", code=1)
    assert "mesh theirs belongs to nobody, not to root" in refused.stderr
    left = otter("destroy", "--all", "--yes")
    assert "mesh theirs belongs to nobody: left alone" in left.stderr
    assert [m["mesh"] for m in otter.json("ls")] == ["theirs"]
    otter.kill_agent()
    otter.serve()  # owners are remembered
    assert otter.json("ls")[0]["owner"] == "nobody"
    assert otter.json("destroy", "--all", "--yes", "--force")[0]["mesh"] == "theirs"


def test_budgets_are_let_in_while_they_fit(otter):
    cores = len(os.sched_getaffinity(0))
    most = topology(otter, "most", host=f"cpu = {cores - 0.5}")
    more = topology(otter, "more", host="cpu = 1")
    otter("apply", most)
    refused = otter("apply", more, code=1)
    assert f"{cores + 0.5:g} of {cores} cores" in refused.stderr
    assert f"mesh most of root {cores - 0.5:g} cores" in refused.stderr
    assert not (otter.runs / "more").exists()  # what was refused is no run
    assert otter.leftovers("more") == []

    otter("apply", topology(otter, "free"))  # without a budget
    allowed = topology(otter, "more", host="cpu = 1", top="overcommit = true")
    marked = otter("apply", allowed)
    assert f"overcommitted: hosts are promised {cores + 0.5:g} of {cores} cores" in marked.stderr
    assert f"{cores + 0.5:g} of {cores} cores" in otter("ls").stdout
    status = otter.json("status", "-m", "more")
    assert status["overcommit"] == f"{cores + 0.5:g} of {cores} cores"
    assert status["spec"]["overcommit"]
    (record,) = (otter.runs / "more").glob("*/plan.json")
    assert json.loads(record.read_text())["overcommit"] is True
    otter("apply", most, "--set", "modules.m.env.X=3")  # was let in before: goes on
    otter("destroy", "-m", "more", "--yes", "--no-fetch")
    assert otter.json("status", "-m", "most")["overcommit"] == ""
    otter("destroy", "-m", "most", "--yes")
    for mesh in ("more", "most"):  # both runs are marked for good
        (run,) = (otter.runs / mesh).glob("*/run.json")
        assert json.loads(run.read_text())["overcommit"] == f"{cores + 0.5:g} of {cores} cores"


def test_of_two_plans_for_one_state_the_second_is_told(otter):
    """Between planning and applying, somebody else applies: nothing of theirs is undone."""
    from otter_agent import api
    from otter_ctl.client import AgentClient
    from otter_ctl.errors import AgentFault

    otter("apply", topology(otter))
    status = api.decode(json.dumps(otter.json("status")), api.MeshStatus)
    otter("apply", topology(otter, env="2"))

    async def late() -> None:
        import msgspec

        async with AgentClient(otter.root / "a" / "run" / "agent.sock") as client:
            other = msgspec.structs.replace(status.spec, seed=9)
            with pytest.raises(AgentFault) as caught:
                await client.put_mesh(other, {}, generation=status.generation)
            assert caught.value.code == "changed"
            assert "was changed by root" in str(caught.value)
            assert "plan again" in str(caught.value)

    import asyncio

    asyncio.run(late())
    assert otter("exec", "m", "--", "printenv", "X").stdout == "2\n"


@pytest.mark.parametrize("running", [False, True], ids=["first", "again"])
def test_two_applies_at_once_one_wins_and_the_other_is_told(otter, running):
    """First ones start an agent each, too: only one of the two serves, and both use it."""
    if running:
        otter("apply", topology(otter))
    files = [topology(otter, env=str(i), file=f"{i}.toml") for i in (7, 8)]
    verbs = [
        otter.popen("apply", file, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for file in files
    ]
    ends = [(*verb.communicate(timeout=DEADLINE_S), verb.returncode) for verb in verbs]
    by_code = sorted(range(2), key=lambda i: ends[i][2])
    codes = [ends[i][2] for i in by_code]
    assert codes == [0, 1] or codes == [0, 0], ends
    if codes == [0, 1]:
        loser = ends[by_code[1]][1]
        assert "mesh mine was " in loser
        assert " by root" in loser
        assert "while it was applied" in loser or "since this was planned" in loser
        value = otter("exec", "m", "--", "printenv", "X").stdout.strip()
        assert value == ("7", "8")[by_code[0]]
        (kept,) = (otter.runs / "mine").glob("*/topology.toml")
        assert f'X = "{value}"' in kept.read_text()
    else:  # the one came after the other, not beside it
        assert otter.json("status")["generation"] >= 2
    started = sum("started otter-agent" in said for _, said, _ in ends)
    assert started == (0 if running else 1)
    assert otter.json("status")["state"] == "ready"
