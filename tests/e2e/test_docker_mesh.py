"""A mesh of containers on a real engine, with the installed commands, and what may go wrong."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from helpers.otter import Otter, kill_within, wait_for

from otter_agent.cgroups import open_cgroups

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.docker, pytest.mark.netns, pytest.mark.timeout(600)]

PAIR = """
name = "pair"
[defaults.module]
runtime = "docker"
[hosts.a]
cpu = 0.5
memory = "128MiB"
[hosts.b]
[[links]]
between = ["a", "b"]
[modules.server]
host = "a"
image = "otter-test/busybox:1"
command = ["sh", "-c", "ip -4 addr show eth0; cat /etc/hosts; exec httpd -f -p 8000"]
ready = { tcp = 8000 }
[modules.client]
host = "b"
image = "otter-test/busybox:1"
command = ["sh", "-c", "echo started; exec sleep 1000"]
"""


def container(engine, otter, module: str) -> str:
    """Id of the module's container."""
    (found,) = [
        c["Id"]
        for c in engine.request("GET", "/containers/json?all=1")
        if (c["Labels"].get("otter.agent"), c["Labels"].get("otter.module"))
        == (otter.agent_id, module)
    ]
    return found


def test_containers_from_nothing_to_nothing(docker_otter, dockerd, busybox_image):
    otter = docker_otter
    otter("apply", otter.topology(PAIR))
    status = otter.json("status")
    assert {m["runtime"] for m in status["modules"]} == {"docker"}
    assert status["hosts"][0]["cpu"] == 0.5
    first = otter("logs", "server").stdout
    assert "100.64.0.2/32" in first  # eth0 was there before the module's first instruction
    assert "client" in first  # and so were the names
    ping = otter("exec", "client", "--", "ping", "-c1", "-W2", "server")
    assert " 0% packet loss" in ping.stdout
    shown = dockerd.request("GET", f"/containers/{container(dockerd, otter, 'server')}/json")
    assert shown["HostConfig"]["RestartPolicy"]["Name"] in ("", "no")
    assert not shown["HostConfig"]["CapAdd"]
    assert "no-new-privileges" in str(shown["HostConfig"]["SecurityOpt"])
    assert shown["HostConfig"]["PidsLimit"]
    folder = Path(otter.json("destroy", "--yes")["folder"])
    assert "100.64.0.2/32" in (folder / "logs" / "server.log").read_text()


def test_a_mesh_of_containers_and_processes(docker_otter, busybox_image):
    otter = docker_otter
    head, _, _ = PAIR.partition("[modules.client]")
    client = '[modules.client]\nhost = "b"\nruntime = "process"\ncommand = ["sleep", "1000"]\n'
    otter("apply", otter.topology(head + client))
    ping = otter("exec", "client", "--", "ping", "-c1", "-W2", "server")
    assert " 0% packet loss" in ping.stdout


def test_an_image_with_nothing_in_it_is_a_full_citizen(docker_otter, busybox_image, scratch_image):
    otter = docker_otter
    head, _, _ = PAIR.partition("[modules.client]")
    client = '[modules.client]\nhost = "b"\nimage = "otter-test/scratch:1"\n'
    otter("apply", otter.topology(head + client))
    ping = otter("exec", "client", "--", "/busybox", "ping", "-c1", "-W2", "server")
    assert " 0% packet loss" in ping.stdout


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_killed_by_docker_kill_it_comes_back_with_its_network(
    docker_otter, dockerd, busybox_image, signal
):
    otter = docker_otter
    otter("apply", otter.topology(PAIR))
    before = otter.modules("pair")["server"]
    name = container(dockerd, otter, "server")
    dockerd.request("POST", f"/containers/{name}/kill?signal={signal}")
    if signal == "TERM":  # httpd as pid 1 ignores it: nothing happens, and that is right
        assert otter.modules("pair")["server"]["pid"] == before["pid"]
        return
    wait_for(lambda: otter.modules("pair")["server"]["restarts"] == 1, "never restarted")
    after = otter.wait_state("pair", "server", "ready")
    assert after["exit_code"] == 137
    ping = otter("exec", "client", "--", "ping", "-c1", "-W2", "server")
    assert " 0% packet loss" in ping.stdout
    assert otter("logs", "server").stdout.count("100.64.0.2/32") == 2


def test_removed_behind_our_back_it_is_made_anew(docker_otter, dockerd, busybox_image):
    otter = docker_otter
    otter("apply", otter.topology(PAIR))
    before = otter.modules("pair")["client"]["pid"]
    dockerd.request("DELETE", f"/containers/{container(dockerd, otter, 'client')}?force=1")
    wait_for(lambda: otter.modules("pair")["client"]["pid"] not in (None, before), otter.log())
    otter.wait_state("pair", "client", "ready")
    ping = otter("exec", "client", "--", "ping", "-c1", "-W2", "server")
    assert " 0% packet loss" in ping.stdout


BROKEN = """
name = "broken"
[hosts.a]
[modules.bad]
build = "bad"
runtime = "docker"
[modules.good]
image = "otter-test/busybox:1"
runtime = "docker"
"""


def test_an_image_that_does_not_build_shows_its_last_lines_and_harms_no_other(
    docker_otter, busybox_image
):
    otter = docker_otter
    bad = otter.root / "bad"
    bad.mkdir(exist_ok=True)
    (bad / "Dockerfile").write_text(
        "FROM otter-test/busybox:1\nRUN echo what went wrong >&2; exit 9\n"
    )
    done = otter("apply", otter.topology(BROKEN), code=1)
    assert "what went wrong" in done.stderr
    modules = otter.modules("broken")
    assert (modules["good"]["state"], modules["bad"]["state"]) == ("ready", "failed")
    (bad / "Dockerfile").write_text("FROM otter-test/busybox:1\n")
    otter("apply", otter.root / "topology.toml")
    assert {m["state"] for m in otter.modules("broken").values()} == {"ready"}
    assert otter.modules("broken")["good"]["pid"] == modules["good"]["pid"]


def test_an_absent_image_is_told_with_what_to_do(docker_otter):
    otter = docker_otter
    file = otter.topology(
        'name = "x"\n[hosts.a]\n[modules.m]\nimage = "otter-test/absent:1"\nruntime = "docker"\n'
    )
    done = otter("apply", file, code=1)
    assert "otter-test/absent:1" in done.stderr


@pytest.mark.slow
@pytest.mark.wide  # its hosts have more than one processor
def test_three_containers_over_tcp_and_images_are_kept_listed_and_pruned(docker_otter, python_root):
    """Builds on a shared base without internet inside; an unchanged module isn't built again."""
    otter = docker_otter
    file = ROOT / "topologies" / "exchange.toml"
    otter("apply", file)
    modules = otter.modules("exchange")
    assert {m["runtime"] for m in modules.values()} == {"docker"}
    otter.wait_state("exchange", "client", "done")
    assert "all exchanges with east, west were right" in otter("logs").stdout
    images = otter.json("image", "ls")
    used = [i for i in images if i["used_by"]]
    assert {u for i in used for u in i["used_by"]} == {f"exchange/{m}" for m in modules}
    otter("destroy", "--yes")
    again = otter("apply", file)
    assert "building" not in again.stderr
    kept = otter.json("image", "prune")
    assert not set(kept["removed"]) & {i["reference"] for i in used}
    otter("destroy", "--yes")
    told = otter("image", "prune", "--dry-run")
    assert all(f"would remove {i['reference']} (module, " in told.stdout for i in used)
    assert "would be removed, about " in told.stderr
    assert used[0]["reference"] in otter("image", "ls").stdout
    assert {i["reference"] for i in used} <= set(otter.json("image", "prune")["removed"])


def test_the_engine_restarts_and_the_mesh_is_whole_again(own_dockerd, require):
    from helpers.images import busybox_root

    own_dockerd.import_image("otter-test/busybox:1", busybox_root(), 'CMD ["sleep", "3600"]')
    otter = Otter(docker=own_dockerd.url)
    try:
        otter("apply", otter.topology(PAIR))
        before = otter.modules("pair")
        own_dockerd.terminate()
        wait_for(lambda: otter.json("status")["state"] != "ready", "the loss was never seen")
        assert "docker" in otter.modules("pair")["server"]["reason"]
        own_dockerd.start()
        wait_for(lambda: otter.json("status")["state"] == "ready", f"not whole again {otter.log()}")
        after = otter.modules("pair")
        assert {m["state"] for m in after.values()} == {"ready"}
        assert after["server"]["pid"] != before["server"]["pid"]
        ping = otter("exec", "client", "--", "ping", "-c1", "-W2", "server")
        assert " 0% packet loss" in ping.stdout
    finally:
        otter.close()


@pytest.mark.slow
def test_kills_of_the_agent_at_random_points_leave_nothing(docker_otter, dockerd, busybox_image):
    otter = docker_otter
    chance = random.Random(7)
    file = otter.topology(PAIR)
    for _ in range(8):
        kill_within(otter, chance.uniform(0, 1.5), "apply", file)
        otter("apply", file)
        ping = otter("exec", "client", "--", "ping", "-c1", "-W2", "server")
        assert " 0% packet loss" in ping.stdout
        kill_within(otter, chance.uniform(0, 1.0), "destroy", "-m", "pair", "--yes", "--no-fetch")
        otter("destroy", "-m", "pair", "--yes", "--no-fetch")
        assert otter.leftovers() == []
        assert otter.containers(dockerd) == []


SCARCE = """
name = "scarce"
[hosts.a]
[modules.writer]
runtime = "docker"
host = "a"
image = "otter-test/busybox:1"
storage = "8MiB"
io = { write_iops = 5000 }
network = { out = "8mbit" }
outputs = ["kept"]
command = ["sh", "-c", '''
dd if=/dev/zero of=/work/big bs=65536
rm /work/big
echo whole > /work/kept
grep " /work " /proc/mounts
trap "exit 0" TERM
echo ended
sleep 1000 & wait
''']
"""


def full(otter) -> str:
    """The log of one that has filled its work folder, which holds what was asked."""
    otter("apply", otter.topology(SCARCE))
    wait_for(lambda: "ended" in otter("logs").stdout, "it never ended")
    log = otter("logs").stdout
    assert "No space left on device" in log
    assert otter.modules("scarce")["writer"]["in_force"]["storage_bytes"] == 8 << 20
    return log


def brought_home(otter) -> None:
    """What it holds is fetched, and nothing stays mounted."""
    folder = Path(otter.json("destroy", "--yes")["folder"])
    (kept,) = folder.glob("outputs/writer/**/kept")
    assert kept.read_text() == "whole\n"
    assert str(otter.root) not in Path("/proc/self/mountinfo").read_text()


def test_a_container_has_its_storage_its_disks_and_its_rates(docker_otter, dockerd, busybox_image):
    otter = docker_otter
    assert " ext4 " in full(otter)
    told = otter.modules("scarce")["writer"]["in_force"]
    assert told["out_bps"] == 8e6
    if open_cgroups("probe").no_disks() == "":
        assert told["write_iops"] == 5000
        groups = Path("/sys/fs/cgroup/blkio") / f"otter-{otter.agent_id}" / "scarce/a/writer"
        own = list(groups.glob("*/blkio.throttle.write_iops_device"))
        assert all(" 5000" in file.read_text() for file in own)  # v1's don't hold below
        assert own or not groups.exists()
    otter("shape", "module", "writer", "--write-iops", "70", "--out", "16mbit")
    told = otter.modules("scarce")["writer"]["in_force"]
    assert told["out_bps"] == 16e6
    brought_home(otter)


def test_without_loop_devices_its_storage_is_in_memory(dockerd, busybox_image, tmp_path, require):
    """Nor anything that makes a file system in a file: its agent finds no `mkfs.ext4`."""
    require("netns", os.geteuid() == 0, "not root")
    for folder in map(Path, os.environ["PATH"].split(":")):
        for program in folder.iterdir() if folder.is_dir() else ():
            if program.name != "mkfs.ext4" and not (tmp_path / program.name).is_symlink():
                (tmp_path / program.name).symlink_to(program)
    otter = Otter(docker=dockerd.url)
    otter.env["PATH"] = str(tmp_path)
    try:
        assert " tmpfs " in full(otter)
        brought_home(otter)
    finally:
        otter.close()
