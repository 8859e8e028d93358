"""`otterctl logs`: times, ranges, patterns, several modules as one, and lives that change."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from helpers.otter import Otter, wait_for

pytestmark = pytest.mark.netns

# Each prints what is written into its pipe, when it is.
ECHO = "mkfifo pipe; exec 3<>pipe; while read line <&3; do echo $line; done"
TALKERS = """
name = "talk"
[defaults.module]
runtime = "{runtime}"
[hosts.a]
[modules.talker-1]
{image}
host = "a"
command = ["sh", "-c", "{echo}"]
[modules.talker-2]
{image}
host = "a"
command = ["sh", "-c", "{echo}"]
[modules.other]
{image}
host = "a"
command = ["sh", "-c", "echo hello from other; sleep 1000"]
"""


class Talk:
    """A mesh of modules that say what they are told to."""

    def __init__(self, otter: Otter, runtime: str, image: str = "") -> None:
        self.otter = otter
        echo, image = f"cd $OTTER_WORK; {ECHO}", f'image = "{image}"' if image else ""
        self.file = otter.topology(TALKERS.format(runtime=runtime, image=image, echo=echo))
        otter("apply", self.file)
        self.say(1, "ready")
        self.say(2, "ready")

    def say(self, number: int, text: str) -> tuple[float, float]:
        """Let a talker say something; returns times between which it did."""
        module = f"talker-{number}"
        pipe = self.otter.root / "a/lib/meshes/talk" / module / "work/pipe"
        wait_for(pipe.exists, "no pipe")
        before = time.time()
        pipe.write_text(f"{text}\n")
        wait_for(lambda: text in self.texts(module), f"{text} was never said")
        return before, time.time()

    def lines(self, *arguments: object) -> list[dict[str, Any]]:
        done = self.otter("logs", *arguments, "--json")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def texts(self, *arguments: object) -> list[str]:
        return [line["text"] for line in self.lines(*arguments)]


@pytest.fixture(params=["process", "docker"])
def talk(request) -> Talk:
    if request.param == "process":
        return Talk(request.getfixturevalue("shared_otter"), "process")
    image = request.getfixturevalue("busybox_image")
    return Talk(request.getfixturevalue("docker_otter"), "docker", image)


def test_ranges_patterns_and_globs(talk):
    talk.say(1, "one 1")
    middle = talk.say(2, "two 2")
    last = talk.say(1, "three 3")
    lines = talk.lines("talker-*")
    assert [(x["module"], x["text"]) for x in lines[2:]] == [
        ("talker-1", "one 1"), ("talker-2", "two 2"), ("talker-1", "three 3"),
    ]  # fmt: skip
    assert is_within(lines[3]["time"], middle)
    assert is_within(lines[4]["time"], last)
    from_middle = (lines[2]["time"] + lines[3]["time"]) / 2
    to_middle = (lines[3]["time"] + lines[4]["time"]) / 2
    assert talk.texts("--since", from_middle) == ["two 2", "three 3"]
    assert talk.texts("--since", "1h", "talker-1") == ["ready", "one 1", "three 3"]
    assert talk.texts("--since", from_middle, "--until", to_middle) == ["two 2"]
    assert talk.texts("--since", utc(from_middle)) == ["two 2", "three 3"]
    assert talk.texts("--until", "1h") == []
    assert talk.texts("talker-?", "--grep", "^t[wh]") == ["two 2", "three 3"]
    assert talk.texts("talker-1", "--tail", "2", "--grep", "o|ready") == ["one 1"]
    assert talk.texts("talker-1", "--since", from_middle, "--tail", "5") == ["three 3"]

    shown = talk.otter("logs", "talker-*", "--tail", "1", "--timestamps").stdout.splitlines()
    assert shown[1].split(" | ")[0] == "talker-1"
    stamp, text = shown[1].split(" | ")[1].split(" ", 1)
    assert datetime.fromisoformat(stamp).timestamp() == pytest.approx(lines[4]["time"], abs=0.002)
    assert text == "three 3"


def is_within(moment: float, times: tuple[float, float]) -> bool:
    """Whether it was then; the clock of files goes in steps, and stands up to one behind."""
    return times[0] - 0.02 <= moment <= times[1]


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_wrong_words_are_refused(talk):
    otter = talk.otter
    assert "no module 'nobody-*' in mesh talk" in otter("logs", "nobody-*", code=1).stderr
    assert "is neither a duration" in otter("logs", "--since", "yesterday", code=2).stderr
    assert "is no regular expression" in otter("logs", "--grep", "(", code=2).stderr
    assert "pick one of them" in otter("logs", "-f", "--until", "1h", code=2).stderr


class Following:
    """`otterctl logs -f`, read as it comes."""

    def __init__(self, otter: Otter, *arguments: object) -> None:
        self.verb = otter.popen("logs", "-f", "--json", *arguments, stdout=subprocess.PIPE)
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.verb.stdout is not None
        for line in self.verb.stdout:
            self.lines.append(json.loads(line))

    def __enter__(self) -> Following:
        return self

    def __exit__(self, *_: object) -> None:
        self.verb.send_signal(signal.SIGINT)
        self.verb.wait(30)
        self._reader.join()
        assert self.verb.stdout is not None
        self.verb.stdout.close()

    @property
    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines]

    def until(self, text: str) -> None:
        wait_for(lambda: text in self.texts, f"{text} never came")


def test_following_goes_on_through_restarts_and_replacements(talk):
    """In the order of time; and an instance that is replaced goes on under its name."""
    talk.say(1, "a")
    talk.say(2, "b")
    with Following(talk.otter, "talker-*") as following:
        following.until("b")
        talk.say(1, "c")
        following.until("c")
        for number in (1, 2):
            talk.otter("apply", talk.file, "--set", f"modules.talker-1.env.X={number}")
            talk.say(1, f"life {number}")
            following.until(f"life {number}")
    assert following.texts == ["ready", "ready", "a", "b", "c", "life 1", "life 2"]
    times = [line["time"] for line in following.lines]
    assert times == sorted(times)


def test_following_ends_with_the_mesh(talk):
    with Following(talk.otter) as following:
        following.until("ready")
        talk.say(1, "before the end")
        following.until("before the end")
        talk.otter("destroy", "--yes", "--no-fetch")
        assert following.verb.wait(60) == 0
    assert following.texts[-1] == "before the end"


def test_times_are_kept_while_no_agent_runs(shared_otter):
    talk = Talk(shared_otter, "process")
    pipe = talk.otter.root / "a/lib/meshes/talk/talker-1/work/pipe"
    log = talk.otter.root / "a/lib/meshes/talk/talker-1/log"
    talk.otter.kill_agent()
    moments = []
    for number in range(3):
        before = time.time()
        pipe.write_text(f"alone {number}\n")
        wait_for(lambda n=number: f"alone {n}" in log.read_text(), "never written")
        moments.append((before, time.time()))
        threading.Event().wait(0.2)  # so that their times differ
    talk.otter.serve()
    lines = talk.lines("talker-1")[1:]
    assert [line["text"] for line in lines] == ["alone 0", "alone 1", "alone 2"]
    for line, moment in zip(lines, moments, strict=True):
        assert is_within(line["time"], moment)


LOUD = """
name = "loud"
[defaults.module]
runtime = "process"
[hosts.a]
[modules.loud]
host = "a"
command = ["python3", "-c", '''
import os, time
def say(first, count):
    os.write(1, b"".join(b"%099d\\n" % n for n in range(first, first + count)))
os.mkfifo("go")
say(0, 10000)
open("go").read()
n = 10000
while n < 1500000:  # 150 MB
    say(n, 10000)
    n += 10000
    time.sleep(0.005)
os.write(1, b"done\\n")
time.sleep(1000)
''']
"""


def test_a_module_that_prints_without_end_harms_nobody(shared_otter):
    """Its log is cut, a follower loses nothing or is told, and the agent answers all the time."""
    otter = shared_otter
    otter("apply", otter.topology(LOUD))
    answers = []
    # Not by a verb: its Python's start takes most of its time, of the core that all of them share.
    ask = ["curl", "-sf", "--unix-socket", otter.root / "a/run/agent.sock", "http://a/v1/meshes"]
    with Following(otter) as following:
        log = otter.root / "a/lib/meshes/loud/loud/log"
        following.until(f"{9999:099d}")  # or it could be cut before anybody follows it
        (log.parent / "work/go").write_text("")
        deadline = time.monotonic() + 240
        while following.lines[-1]["text"] != "done":
            assert time.monotonic() < deadline, following.lines[-1]
            began = time.monotonic()
            subprocess.run(ask, check=True, capture_output=True)
            answers.append(time.monotonic() - began)
    assert sorted(answers)[len(answers) // 2] < 2.0
    assert log.stat().st_size > 150_000_000
    assert log.stat().st_blocks * 512 < 120 << 20
    check_whole(following.texts)
    last = [json.loads(x)["text"] for x in otter("logs", "--json", "-n", "3").stdout.splitlines()]
    assert [int(text) for text in last[:2]] == [1499998, 1499999]


def check_whole(texts: list[str]) -> None:
    """No line is missing but for those that were said to be."""
    expected = 0
    for text in texts[:-1]:
        if text.startswith("[otter: "):
            expected += int(text.split()[1]) // 100
        else:
            assert int(text) == expected
            expected += 1
    assert expected == 1_500_000
