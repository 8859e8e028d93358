"""The agent as one privileged container: for users of a machine's Docker who aren't root there.

    wheels, Dockerfile ─► image otter-agent:RELEASE ─► container otter-agent
                                                          ├─ the machine's processes, network
                                                          └─ /run/otter, /var/lib/otter, /run/netns

The same folders as an agent that is installed has, so nothing else is different: who may use Docker
may use its socket. Containers of modules belong to the engine, and live on without it. Pure.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from otter_ctl.machine.steps import ANSWER_S, Step, data

NAME = "otter-agent"
SETTINGS = ".env"
"""Beside the compose file: variables that it takes."""
BASE = "python:3.11-slim-bookworm"
PYTHON = (3, 11, 0)
LIBC = "glibc 2.36"
LABEL = "otter.release"
ARCHES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Docker's words for processors, and pip's. Windows has Docker's, in capitals."""
BINDS = (
    ("/run/otter", "rshared"),
    ("/run/netns", "rshared"),
    ("/var/lib/otter", ""),
    ("/sys/fs/cgroup", ""),
    ("/var/run/docker.sock", ""),
)
"""Folders of the machine that the agent has at the same place, and who sees what is mounted there:
of network namespaces all do, so that they outlive a container of an agent."""
Files = list[tuple[str, bytes | Path]]
_TEXTS = {"Dockerfile": "agent.Dockerfile", "compose.yaml": "compose.yaml"}
_COMPOSE = ("compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""Other names of what Compose takes where no `compose.yaml` comes before it."""
HEAD = b"# The OTTER agent as one "
"""How texts of ours begin, also those of earlier versions."""


def settings(platform: str, there: bytes) -> bytes:
    """What the compose file is told of the computer that it is written on: `SETTINGS`.

    Args:
        platform: As `sys.platform` has it. Docker Desktop's /run is no shared mount.
        there: What it is told already, by its user.
    """
    if platform == "linux" or re.search(rb"^\s*(export\s+)?OTTER_MOUNTS\s*=", there, re.M):
        return there
    between = b"" if not there or there.endswith(b"\n") else b"\n"
    return there + between + b"OTTER_MOUNTS=rprivate\n"


def arch_of(name: str) -> str | None:
    """Pip's word for a processor, by any of its names; None: there is no image for it."""
    low = name.lower()
    word = ARCHES.get(low, low)
    return word if word in ARCHES.values() else None


def foreign(folder: Path) -> list[str]:
    """Files that make a folder another project's: ours say at their head whose they are."""
    names = (*_TEXTS, *_COMPOSE)
    return [n for n in names if (folder / n).exists() and not _is_ours(folder / n)]


def _is_ours(file: Path) -> bool:
    return file.read_bytes().startswith(HEAD)


def stale(folder: Path, files: Files) -> list[Path]:
    """Packages of an earlier context that one of these files lacks: all there are get installed."""
    names = {name for name, _ in files}
    found = [path for part in ("own", "deps") for path in sorted((folder / part).glob("*.whl"))]
    return [path for path in found if path.relative_to(folder).as_posix() not in names]


def context(own: tuple[str, bytes], packages: Sequence[Path]) -> Files:
    """What `docker build` and a compose file need."""
    files: Files = [(name, data(source).encode()) for name, source in _TEXTS.items()]
    files.append((f"own/{own[0]}", own[1]))
    return files + [(f"deps/{path.name}", path) for path in packages]


def install(release: str, name: str, staged: str) -> list[Step]:
    """Build the image from what was sent, and start its container, instead of an earlier one."""
    image = image_of(release)
    build = (
        f"docker build --quiet --network none --label {LABEL}={shlex.quote(release)}"
        f" --tag {image} {staged} >/dev/null\n"
    )
    return [Step(f"build the image {image} on {BASE}", build, root=False), start(release, name)]


def start(release: str, name: str) -> Step:
    """A container of an image that is there; waits until its agent answers."""
    options = f"--detach --restart unless-stopped {_options()}"
    run = _begin(NAME, f"{options} {image_of(release)} --name {shlex.quote(name)}")
    return Step(
        f"start the privileged container {NAME}, now and at each boot",
        f"{_STOP}{run}{_ANSWERS}",
        root=False,
    )


def once(release: str) -> Callable[[str], str]:
    """Words for the agent's program -> a script that runs it, in a container beside its own."""
    options = f"--rm --entrypoint /opt/otter/bin/otter-agent {_options()} {image_of(release)}"
    return lambda words: _begin(f"{NAME}-once", f"{options} {words}")


def _options() -> str:
    words = ["--pid host"]
    words += ["--network host", "--uts host", "--cgroupns host"]
    words += ['--user "0:$(stat -L -c %g /var/run/docker.sock)"']
    for path, sharing in BINDS:
        words.append(f"--volume {path}:{path}" + ("$shared" if sharing else ""))
    return " ".join(words)


_FORGET = "docker rm -f {} >/dev/null 2>&1 || true"
_STOP = f"docker stop -t 20 {NAME} >/dev/null 2>&1 || true\n"
_LESS = (
    "--cap-add ALL --cap-drop SYS_RESOURCE --device /dev/net/tun --security-opt seccomp=unconfined"
    " --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
)
"""Where the engine itself hasn't got all rights, as in another container."""


def _begin(container: str, words: str) -> str:
    return f"""\
{_SHARED}begin() {{ said=$(docker run $1 --name {container} {words} 2>&1); }}
{_FORGET.format(container)}
begin --privileged || case $said in
*"apply caps"*) {_FORGET.format(container)}; begin "{_LESS}" ;;
*) false ;;
esac || {{ echo "$said" | grep -v -e '--help' -e '^$' | tail -n 1 >&2; exit 1; }}
"""


_SHARED = """\
shared=$(awk '$5 == "/" || $5 == "/run" { it = / shared:/ ? ":rshared" : "" } END { print it }' \\
    /proc/self/mountinfo)
"""
"""Where /run isn't shared with other mount namespaces the engine refuses to do so."""
_ANSWERS = f"""\
tries=0
until docker exec {NAME} /opt/otter/bin/python -c \\
    'import socket; socket.socket(socket.AF_UNIX).connect("/run/otter/agent.sock")' 2>/dev/null; do
    tries=$((tries + 1))
    ended=$(docker inspect -f '{{{{.RestartCount}}}}' {NAME})
    if [ "$ended" != 0 ] || [ $tries -gt {ANSWER_S * 5} ]; then
        echo "otter-agent does not answer: $(docker logs --tail 1 {NAME} 2>&1)" >&2; exit 1
    fi
    sleep 0.2
done
"""


def clean(release: str) -> Step:
    """Remove images of other versions."""
    return Step(
        "remove older images",
        f"docker image ls --format '{{{{.Repository}}}}:{{{{.Tag}}}}' {NAME}"
        f" | grep -vxF {image_of(release)} | xargs -r docker image rm >/dev/null || true\n",
        root=False,
    )


def stop() -> Step:
    """End the agent, for good; containers of modules live on."""
    return Step(f"stop the container {NAME}, now and at boot", _STOP, root=False)


def remove() -> list[Step]:
    """Remove all that `install` made, once the agent is stopped."""
    folders = "/otter/lib/otter /otter/run/otter"
    wipe = (
        f"{_FORGET.format(NAME)}\n"
        f"image=$(docker image ls --quiet {NAME} | head -n 1)\n"
        '[ -z "$image" ] || docker run --rm --network none --volume /var/lib:/otter/lib'
        f' --volume /run:/otter/run --entrypoint rm "$image" -rf {folders}\n'
        f"docker image ls --format '{{{{.Repository}}}}:{{{{.Tag}}}}' {NAME}"
        " | xargs -r docker image rm >/dev/null\n"
    )
    what = f"the container {NAME}, its images, /var/lib/otter and /run/otter"
    return [Step(f"remove {what}", wipe, root=False)]


def image_of(release: str) -> str:
    """The tag of a release: Docker allows no `+` in it."""
    return f"{NAME}:{release.replace('+', '_')}"
