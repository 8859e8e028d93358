"""A mesh of processes from file to nothing, with the installed commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.otter import wait_for

pytestmark = pytest.mark.netns

THREE = """
name = "three"
[defaults.module]
runtime = "process"
[hosts.a]
cpu = 0.5
memory = "128MiB"
[hosts.b]
[hosts.c]
[[links]]
between = ["a", "b"]
delay = "10ms"
[[links]]
between = ["b", "c"]
[modules.server]
host = "a"
command = ["python3", "-m", "http.server", "8000"]
ready = { tcp = 8000 }
[modules.client]
host = "c"
command = ["sleep", "1000"]
"""


def test_apply_status_exec_logs_fetch_destroy(shared_otter):
    otter = shared_otter
    file = otter.topology(THREE)
    applied = otter("apply", file)
    assert "warning" not in applied.stderr
    assert "three: 2 modules ready" in applied.stdout

    status = otter.json("status")
    assert status["mesh"] == "three"
    assert status["state"] == "ready"
    assert {m["name"]: m["state"] for m in status["modules"]} == {
        "server": "ready",
        "client": "ready",
    }
    hosts = {h["name"]: h for h in status["hosts"]}
    assert (hosts["a"]["cpu"], hosts["a"]["memory_bytes"]) == (0.5, 128 << 20)
    links = {(x["name"], x["from"], x["to"]): x for x in status["links"]}
    shaped, free = links["a-b", "a", "b"], links["b-c", "b", "c"]
    assert shaped["driver"] in ("netem", "tun")
    assert shaped["asked"] == {"delay_s": 0.01}
    assert shaped["applied"]["delay_s"] == pytest.approx(0.01, abs=1e-6)
    assert (free["driver"], free["asked"], free["applied"]) == ("none", {}, {})

    fetch = "import urllib.request as u; print(u.urlopen('http://server:8000/').status)"
    across = otter("exec", "client", "--", "python3", "-c", fetch)
    assert across.stdout == "200\n"  # by name, over two links
    assert otter("exec", "client", "--", "sh", "-c", "exit 7", code=7).stdout == ""
    assert otter("exec", "client", "--", "cat", stdin="through\n").stdout == "through\n"
    assert otter("exec", "client", "--", "no-such-command", code=127)

    assert "GET / HTTP" in otter("logs", "server").stdout
    again = otter("apply", file)
    assert "nothing to change" in again.stdout

    folder = Path(otter.json("destroy", "--yes")["folder"])
    assert "GET / HTTP" in (folder / "logs" / "server.log").read_text()
    assert (folder / "topology.toml").read_text() == THREE
    assert otter.json("ls") == []
    assert otter.leftovers() == []


def test_a_module_sees_only_the_mesh_and_may_not_change_it(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(THREE))
    shown = json.loads(otter("exec", "client", "--", "ip", "-j", "addr").stdout)
    assert {device["ifname"] for device in shown} == {"lo", "eth0"}
    refused = otter("exec", "client", "--", "ip", "link", "set", "eth0", "down", code=None)
    assert refused.returncode != 0
    hosts = otter("exec", "client", "--", "cat", "/etc/hosts").stdout
    assert {line.split()[1] for line in hosts.splitlines()} == {
        "localhost", "a", "b", "c", "server", "client",
    }  # fmt: skip


def test_changes_touch_only_what_changed(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(THREE))
    before = otter.modules("three")
    plan = otter.json("plan", otter.root / "topology.toml", "--set", "hosts.a.cpu=0.25",
                      "--set", "modules.client.env.X=1")  # fmt: skip
    assert {(c["kind"], c["name"]) for c in plan["changes"]} == {
        ("update", "a"), ("replace", "client"),
    }  # fmt: skip
    otter("apply", otter.root / "topology.toml", "--set", "hosts.a.cpu=0.25",
          "--set", "modules.client.env.X=1")  # fmt: skip
    after = otter.modules("three")
    assert after["server"]["pid"] == before["server"]["pid"]
    assert after["client"]["pid"] != before["client"]["pid"]
    assert otter.json("status")["hosts"][0]["cpu"] == 0.25
    assert otter("exec", "client", "--", "printenv", "X").stdout == "1\n"


def test_a_limit_that_cannot_be_set_fails_apply_each_time_and_harms_nobody(shared_otter):
    """Memory below what is in use is refused, and the module lives on with what it had."""
    otter = shared_otter
    file = otter.topology(THREE)
    otter("apply", file)
    before = otter.modules("three")["server"]["pid"]
    for _ in range(2):
        done = otter("apply", file, "--set", "modules.server.memory=4MiB", code=1)
        assert "server" in done.stderr
        assert "could not update" in done.stderr
    after = otter.modules("three")["server"]
    assert (after["pid"], after["state"], after["restarts"]) == (before, "ready", 0)
    otter("apply", file)


def test_a_new_host_is_named_in_running_modules_without_restart(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(THREE))
    before = otter.modules("three")
    otter("apply", otter.topology(THREE + '[hosts.d]\n[[links]]\nbetween = ["c", "d"]\n'))
    assert otter.modules("three")["client"]["pid"] == before["client"]["pid"]
    assert " d\n" in otter("exec", "client", "--", "cat", "/etc/hosts").stdout
    assert otter("exec", "client", "--", "ping", "-c1", "-W20", "d").returncode == 0


CRASHES = """
name = "crashes"
[hosts.a]
[modules.bad]
command = ["sh", "-c", "echo the last words >&2; exit 3"]
ready = { command = ["false"] }
runtime = "process"
[modules.good]
command = ["sleep", "1000"]
runtime = "process"
"""


def test_a_crashing_module_is_tried_again_then_failed_with_its_last_words(shared_otter):
    otter = shared_otter
    done = otter("apply", otter.topology(CRASHES), code=1)
    assert "bad: failed: exited with 3" in done.stderr
    assert "| the last words" in done.stderr
    bad = otter.modules("crashes")["bad"]
    assert (bad["state"], bad["exit_code"], bad["restarts"]) == ("failed", 3, 4)
    assert "the last words" in bad["log_tail"]
    assert otter.modules("crashes")["good"]["state"] == "ready"


def test_a_module_that_was_killed_unseen_is_restarted(otter):
    otter("apply", otter.topology(THREE))
    module = otter.modules("three")["client"]
    otter.kill_agent()
    os.kill(module["pid"], signal.SIGKILL)  # while no agent looks
    wait_for(lambda: not Path(f"/proc/{module['pid']}").exists(), "the module lives on")
    otter.serve()
    wait_for(lambda: otter.modules("three")["client"]["restarts"] == 1, "never restarted")
    after = otter.wait_state("three", "client", "ready")
    assert (after["exit_code"], after["restarts"]) == (137, 1)
    assert after["pid"] != module["pid"]


def test_exit_code_of_a_module_that_ended_unseen(otter):
    file = otter.topology("""
name = "unseen"
[hosts.a]
[modules.m]
command = ["sh", "-c", "while ! test -e stop; do sleep 0.05; done; exit 3"]
runtime = "process"
restart = "no"
""")
    otter("apply", file)
    pid = otter.modules("unseen")["m"]["pid"]
    otter.kill_agent()
    (otter.root / "a" / "lib" / "meshes" / "unseen" / "m" / "work" / "stop").touch()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the module lives on")
    otter.serve()
    after = otter.wait_state("unseen", "m", "failed")
    assert after["exit_code"] == 3


def test_running_modules_survive_the_agent(otter):
    otter("apply", otter.topology(THREE))
    before = otter.modules("three")
    otter.kill_agent()
    otter.serve()
    wait_for(lambda: otter.json("status")["state"] == "ready", "not ready again")
    after = otter.modules("three")
    assert {n: m["pid"] for n, m in after.items()} == {n: m["pid"] for n, m in before.items()}
    assert all(m["restarts"] == 0 for m in after.values())
    assert "nothing to change" in otter("apply", otter.root / "topology.toml").stdout


def test_two_meshes_with_the_same_hosts_and_two_agents_side_by_side(otter, shared_otter):
    for one, name in ((otter, "one"), (otter, "two"), (shared_otter, "one")):
        one("apply", one.topology(THREE.replace('"three"', f'"{name}"'), f"{name}.toml"))
    for one, name in ((otter, "one"), (otter, "two"), (shared_otter, "one")):
        ping = one("exec", "-m", name, "client", "--", "ping", "-c1", "-W20", "server")
        assert " 0% packet loss" in ping.stdout
    several = otter("status", code=2)
    assert "one, two" in several.stderr
    otter("destroy", "-m", "one", "--yes")
    assert otter.leftovers("+one+") == []
    assert otter("exec", "-m", "two", "client", "--", "ping", "-c1", "-W20", "server")
    assert shared_otter("exec", "-m", "one", "client", "--", "ping", "-c1", "-W20", "server")


def test_ctrl_c_in_apply_and_logs(shared_otter):
    otter = shared_otter
    file = otter.topology(THREE.replace("tcp = 8000", "tcp = 8001"))  # never ready
    apply = otter.popen("apply", file, stderr=subprocess.PIPE)
    for line in apply.stderr:
        if line.startswith("server: running"):
            break
    apply.send_signal(signal.SIGINT)
    assert apply.wait(20) == 130
    rest = apply.stderr.read()
    apply.stderr.close()
    assert "Traceback" not in rest
    follow = otter.popen("logs", "-f", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    fetch = "import urllib.request as u; u.urlopen('http://server:8000/')"
    exec_ = ("exec", "client", "--", "python3", "-c", fetch)
    wait_for(lambda: otter(*exec_, code=None).returncode == 0, "it never listens")
    assert any("GET /" in line for line in follow.stdout)
    follow.send_signal(signal.SIGINT)
    err = follow.communicate(timeout=20)[1]
    assert follow.returncode == 130
    assert "Traceback" not in err


def test_a_command_ends_with_its_client(shared_otter):
    otter = shared_otter
    otter("apply", otter.topology(THREE))
    seconds = "43215"
    running = otter.popen("exec", "client", "--", "sleep", seconds, stdin=subprocess.DEVNULL)
    wait_for(lambda: sleeping(seconds), "it never ran")
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 130
    wait_for(lambda: not sleeping(seconds), "it goes on without its client")


def sleeping(seconds: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", seconds.encode()]:
            found.append(path.parent.name)
    return found


def test_outputs_that_are_hostile_harm_only_themselves(shared_otter):
    """Links, a hole that is larger than the disk, folders without end; and one good file."""
    otter = shared_otter
    script = (
        "echo good > out.txt; ln -s /etc/shadow link.txt; ln -s / all; truncate -s 10T huge.txt; "
        'python3 -c \'import os\nfor _ in range(1200): os.mkdir("d"); os.chdir("d")\'; '
        "mkfifo pipe.txt; touch made; exec sleep 1000"
    )
    file = otter.topology(
        'name = "hostile"\n[hosts.a]\n[modules.m]\nruntime = "process"\n'
        f"command = {json.dumps(['sh', '-c', script])}\n"
        'outputs = ["*.txt", "all/*", "d"]\nready = { command = ["test", "-e", "made"] }\n'
    )
    otter("apply", file)
    folder = Path(otter.json("fetch")["folder"])
    outputs = folder / "outputs" / "m"
    assert sorted(p.name for p in outputs.iterdir()) == ["huge.txt", "out.txt"]
    assert (outputs / "huge.txt").stat().st_blocks * 512 < 1 << 20
    assert "more than 64 folders deep" in otter("destroy", "--yes").stderr
    (outputs / "huge.txt").unlink()
    assert otter.json("ls") == []


def test_not_ready_in_time_says_what_it_waits_for(shared_otter):
    otter = shared_otter
    file = otter.topology(THREE.replace("tcp = 8000", 'tcp = 8001, within = "1s"'))
    done = otter("apply", file, code=1)
    assert "waits for TCP port 8001" in done.stderr


def test_an_agent_started_by_apply_ends_after_its_last_mesh(shared_otter):
    otter = shared_otter
    command = Path(f"/proc/{otter.agent_pid}/cmdline") if otter.agent_pid else None
    if command is None:
        otter("apply", otter.topology(THREE))
        command = Path(f"/proc/{otter.agent_pid}/cmdline")
    assert "serve" in command.read_text().split("\0")


def test_idle_exit(otter):
    agent = otter.serve("--idle-exit", "0.5")
    began = time.monotonic()
    assert agent.wait(20) == 0
    assert time.monotonic() - began < 15


CAMERA = """
import asyncio, net, numpy
async def main(mesh):
    number = 0
    while True:
        await mesh.output("images").send({"image": numpy.full((300, 400), number % 256, "u1")})
        number += 1
        await asyncio.sleep(0.01)
net.run(main)
"""
VIEWER = """
import net
async def main(mesh):
    async for message in mesh.input("images"):
        image = message.value["image"]
        assert (image == image[0, 0]).all()
        print(image.shape, message.stream, flush=True)
net.run(main)
"""
SEEN = f"""
name = "seen"
[defaults.module]
runtime = "process"
[hosts.phone]
[hosts.edge]
[[links]]
between = ["phone", "edge"]
[modules.camera]
host = "phone"
command = ["{sys.executable}", "-c", '''{CAMERA}''']
[modules.viewer]
host = "edge"
command = ["{sys.executable}", "-c", '''{VIEWER}''']
[[streams]]
from = "camera.images"
to = "viewer.images"
transport = "tcp"
"""


def test_a_stream_is_switched_to_datagrams_by_one_word(shared_otter):
    otter = shared_otter
    line = "(300, 400) camera.images>viewer.images"

    def images_come() -> bool:
        return otter("logs", "viewer", "--tail", "5").stdout.count(line) >= 5

    for transport, kind in (("tcp", "-t"), ("udp", "-u")):
        file = otter.topology(SEEN.replace('"tcp"', f'"{transport}"'))
        assert "seen: 2 modules ready" in otter("apply", file).stdout
        wait_for(images_come, f"no images over {transport}")
        pid = str(otter.modules("seen")["viewer"]["pid"])
        ss = ["nsenter", "-t", pid, "-n", "ss", "-n", "-l", kind]
        listening = subprocess.run(ss, capture_output=True, text=True, check=True).stdout
        assert ":7070" in listening
