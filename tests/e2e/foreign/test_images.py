"""What an image says is respected, whatever is missing in it; and what can't run says why."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from helpers.otter import Otter

pytestmark = [pytest.mark.docker, pytest.mark.netns, pytest.mark.timeout(300)]

CITIZEN = """
name = "citizen"
[hosts.near]
cpu = 0.5
memory = "64MiB"
[hosts.far]
[[links]]
between = ["near", "far"]
[modules.report]
image = "otter-test/probe:1"
host = "near"
cpu = 0.2
memory = "16MiB"
outputs = ["*.txt"]
[modules.server]
image = "otter-test/probe:1"
host = "far"
command = ["probe", "listen", "80"]
ready = { tcp = 80 }
"""
FULL = (
    "USER 1234:2345",
    "WORKDIR /srv/app",
    'ENV PATH=/srv/bin COLOUR="dark blue"',
    'VOLUME ["/data", "/run", "/work"]',
    "EXPOSE 8080",
    "STOPSIGNAL SIGUSR1",
    'HEALTHCHECK --interval=1s CMD ["absent"]',
    'ENTRYPOINT ["probe"]',
    'CMD ["report"]',
)


def ends(dockerd, since: float) -> list[tuple[str, str, str]]:
    """Kills and deaths of containers since then: (module, what, signal or status)."""
    asked = f"/events?since={since:.3f}&until={time.time():.3f}"
    shown = dockerd.request("GET", asked + "&filters=%7B%22type%22%3A%5B%22container%22%5D%7D")
    lines = [shown] if isinstance(shown, dict) else map(json.loads, shown.splitlines())
    return [
        (at["otter.module"], event["Action"], at.get("signal", at.get("exitCode", "")))
        for event in lines
        if event["Action"] in ("kill", "die")
        and "otter.module" in (at := event["Actor"]["Attributes"])
    ]


def test_an_image_is_what_it_says(docker_otter, dockerd, probe_image):
    """All in one image: its own user, folder, variables, command, volumes and stop signal."""
    probe_image(*FULL)
    otter = docker_otter
    otter("apply", otter.topology(CITIZEN))
    said = otter("logs", "report").stdout
    for line in (
        *("argv probe", "argv report", "cwd /srv/app", "uid 1234 gid 2345", "host report"),
        *("env COLOUR=dark blue", "env PATH=/srv/bin", "env OTTER_WORK=/work"),
    ):
        assert f"| {line}\n" in said
    status = otter.json("status")
    (near, _), (module, _) = status["hosts"], status["modules"]
    assert (near["in_force"]["cpu"], near["in_force"]["memory_bytes"]) == (0.5, 64 << 20)
    assert (module["in_force"]["cpu"], module["in_force"]["memory_bytes"]) == (0.2, 16 << 20)
    folder = Path(otter.json("fetch")["folder"])
    report = (folder / "outputs" / "report" / "report.txt").read_text()
    assert report.startswith("cwd /srv/app\nuid 1234 gid 2345\n")
    began = time.time()
    otter("destroy", "--yes", "--no-fetch")
    ended = ends(dockerd, began)
    assert ("report", "kill", "10") in ended  # its STOPSIGNAL, which it handles …
    assert ("report", "die", "0") in ended
    assert ("server", "kill", "9") in ended  # … and who hears nothing isn't waited for
    assert not dockerd.request("GET", "/volumes")["Volumes"]


def test_names_and_programs_where_there_is_no_shell(docker_otter, probe_image):
    """As another user than root, from a static program, on an image without /etc."""
    probe_image(*FULL)
    otter = docker_otter
    otter("apply", otter.topology(CITIZEN))
    names = otter("exec", "report", "--", "probe", "resolve", "near", "far", "report", "server")
    addresses = dict(line.split() for line in names.stdout.splitlines())
    assert addresses["server"] == otter.modules("citizen")["server"]["address"]
    began = time.monotonic()
    otter("exec", "report", "--", "probe", "resolve", "nobody.example", code=1)
    refused = otter("exec", "report", "--", "probe", "connect", "far", "80", code=1)
    assert "Connection refused" in refused.stdout  # a host is no module: nothing listens there
    assert time.monotonic() - began < 5  # both at once, no time-out
    assert (
        "connect: done" in otter("exec", "report", "--", "probe", "connect", "server", "80").stdout
    )
    read_only = otter("exec", "report", "--", "probe", "write", "/etc/hosts", code=1)
    assert "/etc/hosts: " in read_only.stdout
    for absent in ("sh", "/bin/sh"):
        done = otter("exec", "report", "--", absent, "-c", "true", code=127)
        assert done.stderr == f"otter: cannot run {absent}: it is not in the image\n"
    done = otter("exec", "report", "--", "/srv/bin", code=126)
    assert done.stderr == "otter: cannot run /srv/bin: permission denied\n"


def test_a_new_host_is_known_to_those_who_run(docker_otter, probe_image):
    """The hosts file changes in place, under the feet of an image that can't write it."""
    probe_image(*FULL)
    otter = docker_otter
    otter("apply", otter.topology(CITIZEN))
    before = otter.modules("citizen")["report"]["pid"]
    otter("apply", otter.topology(CITIZEN + '[hosts.new]\n[[links]]\nbetween = ["far", "new"]\n'))
    assert "new 100." in otter("exec", "report", "--", "probe", "resolve", "new").stdout
    assert otter.modules("citizen")["report"]["pid"] == before


def test_an_agent_whose_files_are_private(dockerd, probe_image, require):
    """Root's umask is no business of an image's user, who must read what is bound in."""
    probe_image(*FULL)
    otter = Otter(docker=dockerd.url)
    try:
        before = os.umask(0o077)
        try:
            otter.serve()
        finally:
            os.umask(before)
        otter("apply", otter.topology(CITIZEN))
        assert "server 100." in otter("exec", "report", "--", "probe", "resolve", "server").stdout
    finally:
        otter.close()


@pytest.fixture(scope="session")
def arm_program(tmp_path_factory, require) -> bytes:
    """A program for another architecture than this machine's."""
    compiler = "aarch64-linux-gnu-gcc" if os.uname().machine == "x86_64" else "x86_64-linux-gnu-gcc"
    require("docker", shutil.which(compiler) is not None, f"no {compiler}")
    made = tmp_path_factory.mktemp("foreign") / "program"
    source = b"void _start(void) { for (;;); }"
    command = [compiler, "-static", "-nostdlib", "-o", made, "-x", "c", "-"]
    subprocess.run(command, input=source, check=True)
    return made.read_bytes()


ALONE = '[hosts.a]\n[modules.m]\nimage = "otter-test/probe:1"\n'
NOT_THERE = "it (or its interpreter) is not in the image"


@pytest.mark.parametrize(
    ("lines", "file", "said"),
    [
        (['ENTRYPOINT ["absent"]'], b"", f"cannot run absent: {NOT_THERE}"),
        (["ENTRYPOINT exec /srv/bin/probe"], b"", f"cannot run /bin/sh: {NOT_THERE}"),
        (['ENTRYPOINT ["/srv/file"]'], b"#!/bin/sh\n", f"cannot run /srv/file: {NOT_THERE}"),
        (['ENTRYPOINT ["/srv/file"]'], b"echo\n", "cannot run /srv/file: not a program for this"),
        (['ENTRYPOINT ["/srv/bin"]'], b"", "cannot run /srv/bin: permission denied"),
        ([], b"", "the image has neither an entrypoint nor a command; say what to run"),
    ],
    ids=["absent", "no-shell", "no-interpreter", "no-shebang", "a-folder", "no-command"],
)
def test_what_cannot_run_says_why(docker_otter, probe_image, lines, file, said):
    probe_image(*lines, files={"srv/file": file})
    otter = docker_otter
    done = otter("apply", otter.topology(f'name = "bad"\n{ALONE}'), code=1)
    assert said in done.stdout + done.stderr
    (failed,) = otter.modules("bad").values()
    assert (failed["state"], failed["restarts"]) == ("failed", 0)  # trying again would not help
    assert said in failed["reason"]


def test_an_unknown_user_says_so(docker_otter, probe_image):
    probe_image("USER nobody", 'ENTRYPOINT ["/srv/bin/probe"]')
    otter = docker_otter
    applying = otter.popen("apply", otter.topology(f'name = "bad"\n{ALONE}'), stderr=-1)
    try:
        assert any("unable to find user nobody" in line for line in applying.stderr)
    finally:
        applying.kill()
        applying.communicate()


def test_an_image_of_another_architecture_says_so(docker_otter, probe_image, arm_program):
    probe_image('ENTRYPOINT ["/srv/file"]', files={"srv/file": arm_program})
    otter = docker_otter
    done = otter("apply", otter.topology(f'name = "bad"\n{ALONE}'), code=1)
    assert "not a program for this machine (wrong architecture" in done.stdout + done.stderr


def test_an_entrypoint_by_a_relative_path(docker_otter, probe_image):
    probe_image("WORKDIR /srv/bin", 'ENTRYPOINT ["./probe", "report"]')
    otter = docker_otter
    otter("apply", otter.topology(f'name = "good"\n{ALONE}'))
    assert "| argv ./probe\n" in otter("logs", "m").stdout
