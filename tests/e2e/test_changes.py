"""A re-apply touches only what changed: the processes that go on are counted, change by change.

And what `plan` said beforehand is what happens.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

BASE = """
name = "{mesh}"
[hosts.a]
cpu = 0.5
memory = "256MiB"
[hosts.b]
[hosts.c]
[[links]]
name = "ab"
between = ["a", "b"]
delay = "10ms"
[[links]]
name = "bc"
between = ["b", "c"]
[modules.one]
{what}
host = "a"
env = {{ X = "1" }}
files = {{ "in.txt" = "in.txt" }}
[modules.two]
{what}
host = "b"
[modules.three]
{what}
host = "c"
[modules.sender]
{what}
host = "a"
ready = {{ command = ["true"] }}
[modules.receiver]
{what}
host = "b"
ready = {{ command = ["true"] }}
"""

LINK_CD = '[[links]]\nbetween = ["c", "d"]\n'
NEW_HOST = "[hosts.d]\n" + LINK_CD
NEW_MODULE = '[modules.four]\nWHAT\nhost = "c"\n'
NEW_STREAM = '[[streams]]\nfrom = "sender.out"\nto = "receiver.in"\nqueue = {}\n'

# What is changed, and the modules that may be started anew for it.
CHANGES = [
    pytest.param({"sets": ["modules.one.env.X=2"]}, {"one"}, id="env"),
    pytest.param({"sets": ['modules.one.command=["sleep", "2000"]']}, {"one"}, id="command"),
    pytest.param({"sets": ["modules.one.cpu=0.25"]}, set(), id="module-cpu"),
    pytest.param({"sets": ["modules.one.memory=64MiB"]}, set(), id="module-memory"),
    pytest.param({"sets": ["hosts.a.cpu=0.25"]}, set(), id="host-cpu"),
    pytest.param({"sets": ["hosts.a.memory=128MiB"]}, set(), id="host-memory"),
    pytest.param({"sets": ["hosts.b.cpu=0.5"]}, set(), id="host-cpu-new"),
    pytest.param({"sets": ["links.ab.delay=30ms"]}, set(), id="link-property"),
    pytest.param({"sets": ["modules.one.restart=always"]}, set(), id="restart-policy"),
    pytest.param({"sets": ['modules.one.outputs=["*.txt"]']}, set(), id="outputs"),
    pytest.param({"sets": ["seed=7"]}, set(), id="seed"),
    pytest.param({"more": NEW_HOST}, set(), id="host-added-and-named"),
    pytest.param({"more": NEW_MODULE}, set(), id="module-added"),
    pytest.param({"more": NEW_STREAM.format(16)}, {"sender", "receiver"}, id="stream-added"),
    pytest.param({"file": "other content"}, {"one"}, id="file-changed"),
    pytest.param({"sets": ["modules.two.host=c"]}, {"two"}, id="module-moved"),
]


class Changing:
    """A mesh, and the processes of its modules before and after."""

    def __init__(self, otter, mesh: str, what: str) -> None:
        self.otter, self.mesh, self.what = otter, mesh, what
        self.text = BASE.format(mesh=mesh, what=what)
        (otter.root / "in.txt").write_text("content\n")
        self.file = otter.topology(self.text, f"{mesh}.toml")
        otter("apply", self.file)

    def lives(self) -> dict[str, tuple[int, int]]:
        """Module -> pid with its start time: one life."""
        return {
            name: (m["pid"], started(m["pid"]))
            for name, m in self.otter.modules(self.mesh).items()
            if m["pid"]
        }

    def change(self, sets=(), more="", file="") -> tuple[set[str], set[str]]:
        """Change something; returns the modules that were to be restarted, and those that were."""
        before = self.lives()
        if file:
            (self.otter.root / "in.txt").write_text(file)
        self.otter.topology(self.text + more.replace("WHAT", self.what), self.file.name)
        words = [word for item in sets for word in ("--set", item)]
        plan = self.otter.json("plan", self.file, *words)
        told = {c["name"] for c in plan["changes"] if c["restart"]}
        assert all(c["because"] for c in plan["changes"] if c["restart"])
        said = self.otter("apply", self.file, *words).stderr
        assert {line.split()[1] for line in said.splitlines() if " restarts: " in line} == told
        after = self.lives()
        return told, {name for name in before if after.get(name) != before[name]}

    def back(self) -> None:
        """As it was, whatever that restarts; and none restarted by itself."""
        (self.otter.root / "in.txt").write_text("content\n")
        self.otter.topology(self.text, self.file.name)
        status = self.otter.json("apply", self.file)
        assert status["state"] == "ready"
        assert all(m["restarts"] == 0 for m in status["modules"])


def started(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


@pytest.fixture(scope="module")
def processes(session_otter):
    yield Changing(session_otter, "changes", 'runtime = "process"\ncommand = ["sleep", "1000"]')
    session_otter("destroy", "-m", "changes", "--yes", "--no-fetch")


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_only_what_changed_is_restarted(processes, change, expected):
    assert processes.change(**change) == (expected, expected)
    processes.back()


def test_removals_touch_nobody_else(processes):
    processes.change(more=NEW_HOST + '[modules.five]\nWHAT\nhost = "d"\n' + NEW_MODULE)
    assert {"four", "five"} <= processes.lives().keys()
    assert processes.change() == (set(), {"four", "five"})  # both went, with host d


def test_budgets_are_in_force_at_once(processes):
    processes.change(sets=["hosts.a.cpu=0.25", "modules.one.cpu=0.125"])
    hosts = {h["name"]: h for h in processes.otter.json("status", "-m", "changes")["hosts"]}
    assert hosts["a"]["cpu"] == 0.25
    processes.back()


DOCKER = {
    "env", "module-cpu", "module-memory", "host-cpu", "link-property", "host-added-and-named",
    "stream-added", "module-added", "file-changed",
}  # fmt: skip


@pytest.fixture(scope="module")
def containers(session_docker_otter, busybox_image):
    yield Changing(session_docker_otter, "dchanges", f'image = "{busybox_image}"')
    session_docker_otter("destroy", "-m", "dchanges", "--yes", "--no-fetch")


@pytest.mark.docker
@pytest.mark.parametrize(("change", "expected"), [p for p in CHANGES if p.id in DOCKER])
def test_only_what_changed_is_restarted_in_containers(containers, change, expected):
    assert containers.change(**change) == (expected, expected)
    containers.back()


@pytest.mark.docker
def test_another_image_restarts_that_module_alone(containers, scratch_image):
    image = [f"modules.two.image={scratch_image}"]
    assert containers.change(sets=image) == ({"two"}, {"two"})
    containers.back()
