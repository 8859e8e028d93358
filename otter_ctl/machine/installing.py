"""Makes a machine an OTTER machine, brings it to this version, and reverts that.

What would be done is known before anything is: `plan_*` asks and refuses, `carry_out` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from otter_ctl.client import AgentClient
from otter_ctl.errors import RemoteError
from otter_ctl.machine import container, packages, steps
from otter_ctl.machine.checks import python_todo
from otter_ctl.machine.elevate import Elevated
from otter_ctl.machine.facts import WIDE, Facts, Python, parse
from otter_ctl.machine.interpreter import brought
from otter_ctl.machine.looking import agent_of
from otter_ctl.machine.removing import Removal, around, installed
from otter_ctl.machine.steps import Step
from otter_ctl.machine.wheel import own_wheel
from otter_ctl.machine.wheelhouse import fetch

STAGED = "@STAGED@"
"""Stands in scripts for the folder to which packages are sent, known only then."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done on a machine.

    Attributes:
        steps: In this order.
        send: Packages to send before.
        back: What to do if a step fails.
        notes: What is worth knowing.
    """

    facts: Facts
    steps: list[Step]
    send: list[tuple[str, bytes | Path]] = field(default_factory=list)
    back: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def send_bytes(self) -> int:
        """What goes over the wire."""
        return sum(len(c) if isinstance(c, bytes) else c.stat().st_size for _, c in self.send)


def plan_add(
    machine: str, facts: Facts, *, docker: bool, again: bool = False, archive: Path | None = None
) -> Work:
    """What makes a machine an OTTER machine, or brings it to this version.

    Args:
        machine: Its name.
        facts: What it is.
        docker: Install an engine if there is none.
        again: It is one already: go back to its version if this one fails.
        archive: An interpreter to bring along and use.

    Raises:
        RemoteError: It can't be one: says what to install, or what is in the way.
    """
    if facts.system != "Linux":
        raise RemoteError(machine, f"{facts.system}: agents run on Linux")
    _check_width(machine, facts)
    along = brought(machine, facts, archive) if archive is not None else None
    python = along.python if along else _usable_python(machine, facts)
    if facts.root == "none":
        hint = "log in as root, or as a user who may use sudo"
        raise RemoteError(machine, f"{facts.user} may not become root: there is no sudo", hint=hint)
    _check_room(machine, facts, steps.ROOM_BYTES + (along.room_bytes if along else 0))
    own = own_wheel()
    wheels = fetch(machine, facts, python)
    send: list[tuple[str, bytes | Path]] = [(own.file_name, own.content)]
    send += [(path.name, path) for path in wheels if path.name not in facts.wheels]
    sums = {name: _digest(content) for name, content in send}
    done = steps.install(facts, python, own.release, machine, STAGED, sums, wheels[0].name)
    if along and all(python.path != one.path for one in facts.pythons):
        send.append((steps.ARCHIVE, along.archive))
        done = [steps.unpack(along.folder, python.path, STAGED, along.digest), *done]
    if docker and not facts.docker and not facts.docker_socket:
        if "apt-get" not in facts.tools:
            raise RemoteError(machine, "there is no apt-get to install Docker with")
        done = [packages.docker(), *done]
    back = []
    if again and facts.served and facts.served != own.release:
        back = steps.back(facts, facts.served, machine)
        done.append(steps.clean(own.release))
    notes = [] if facts.systemd else ["no systemd runs there: a script of /etc/init.d does it"]
    if not docker and not facts.docker:
        notes.append("no Docker engine: modules run as processes (--docker installs one)")
    return Work(facts, done, send, back, notes)


def _digest(content: bytes | Path) -> str:
    raw = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha256(raw).hexdigest()


def _check_width(machine: str, facts: Facts) -> None:
    if facts.narrow:
        raise RemoteError(machine, facts.narrow, hint=WIDE)


def _check_room(machine: str, facts: Facts, needed_bytes: int) -> None:
    if facts.free_bytes < needed_bytes:
        raise RemoteError(
            machine,
            f"{facts.free_bytes >> 20} MiB are free for {steps.TOP}, needed are about"
            f" {needed_bytes >> 20}",
            hint="make room there",
        )


def _usable_python(machine: str, facts: Facts) -> Python:
    if facts.python is None:
        hint = python_todo(facts, "otterctl machine add …")
        raise RemoteError(machine, "no Python 3.11 or newer was found", hint=hint)
    return facts.python


def plan_container(machine: str, facts: Facts) -> Work:
    """What makes a machine one by a container, or brings that to this version.

    Raises:
        RemoteError: The user may not use Docker there, or an agent is installed already.
    """
    if not facts.docker_usable:
        why = f"{facts.user} may not use Docker there: {facts.docker or 'there is none'}"
        hint = "be in the group docker there (and log in again), or leave out --via docker"
        raise RemoteError(machine, why, hint=hint)
    if facts.release:
        hint = f"otterctl machine upgrade {machine}, or rm it first"
        raise RemoteError(machine, f"OTTER {facts.release} is installed there", hint=hint)
    _check_width(machine, facts)
    own = own_wheel()
    files = _context(machine, facts, container.ARCHES.get(facts.docker_arch, facts.arch))
    done = [*container.install(own.release, machine, STAGED), container.clean(own.release)]
    back = []
    if facts.container and facts.container != own.release:
        back = [container.start(facts.container, machine)]
    notes = [f"{container.BASE} is pulled there, unless it has it"]
    return Work(facts, done, files, back, notes)


def _context(machine: str, facts: Facts, arch: str) -> container.Files:
    python = Python("python3", container.PYTHON, "", venv=True)
    wheels = fetch(machine, replace(facts, arch=arch, libc=container.LIBC), python)
    own = own_wheel()
    return container.context((own.file_name, own.content), wheels)


def write_context(folder: Path, arch: str, platform: str) -> None:
    """Write down what the agent's image is built from, and a compose file with its settings.

    Settings that are there stay: what is lacking is added to them. Files of an earlier OTTER are
    replaced, and nobody else's are.

    Args:
        folder: Made if it isn't there.
        arch: Pip's word for the processor that it is for.
        platform: Of this computer, as `sys.platform` has it.

    Raises:
        RemoteError: Its packages can't be fetched, or the folder is a project of its own.
    """
    for name in container.foreign(folder):
        why = f"{folder / name} is another project's, which would have its agent started instead"
        raise RemoteError(str(folder), why, hint="name another folder, such as agent")
    facts = parse("end=yes\n")
    assert facts is not None
    made = _context(str(folder), facts, arch)
    for former in container.stale(folder, made):
        former.unlink()
    for name, content in made:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    settings = folder / container.SETTINGS
    there = settings.read_bytes() if settings.exists() else b""
    if (told := container.settings(platform, there)) != there:
        settings.write_bytes(told)


def plan_remove(facts: Facts, removal: Removal, *, keep_docker: bool = False) -> Work:
    """What reverts all; an engine that `add` found, or that is to be kept, stays.

    Raises:
        RemoteError: Meshes are to be ended by an agent that isn't `add`'s.
    """
    if facts.container and not facts.release:
        once = container.once(facts.container)
        return Work(facts, [*around(removal, container.stop(), once), *container.remove()])
    if removal.meshes and not facts.release:
        hint = f"end them first: otterctl destroy -m {removal.meshes[0]}"
        raise RemoteError(removal.name, "its agent wasn't installed by otterctl machine", hint=hint)
    if not (facts.docker or facts.docker_socket):
        removal = replace(removal, images=False)  # environments go with all else
    done = around(removal, steps.stop(facts), installed)
    notes = []
    if facts.installed and not keep_docker:
        done = [packages.removable(), *done, packages.remove()]
    elif facts.docker:
        notes = ["packages of the system (Docker) stay"]
    if not facts.release:
        done = [steps.own(removal.name), *done]
    return Work(facts, [*done, *steps.remove()], notes=notes)


async def meshes_of(shell: Elevated) -> tuple[str, ...] | None:
    """Names of the meshes that a machine's agent keeps; None if it doesn't answer."""
    socket = shell.road.machine.socket
    info, _ = await agent_of(shell.road)
    if info is None:
        return None
    name = shell.road.machine.name
    async with AgentClient(Path(socket), name, shell.road.open(socket)) as client:
        return tuple(mesh.mesh for mesh in await client.meshes())


async def carry_out(shell: Elevated, work: Work, say: Callable[[str], None]) -> None:
    """Do it, telling each step before it is done.

    Raises:
        RemoteError: A step failed. An upgrade has returned to what ran before then.
    """
    staged = ""
    try:
        if any(step.root for step in work.steps):
            await shell.do(Step("become root", "true"), work.facts)  # before megabytes are sent
        if work.send:
            say(f"send {len(work.send)} packages, {work.send_bytes / 1e6:.1f} MB")
            staged = await shell.send(work.send, say)
        for step in work.steps:
            say(step.title)
            script = step.script.replace(STAGED, staged)
            await shell.do(replace(step, script=script), work.facts)
    except RemoteError as error:
        await _go_back(shell, work, say, error)
        raise
    finally:
        if staged:
            await shell.forget(staged)


async def _go_back(
    shell: Elevated, work: Work, say: Callable[[str], None], cause: RemoteError
) -> None:
    for step in work.back:
        say(step.title)
        try:
            await shell.do(step, work.facts)
        except RemoteError as error:
            raise RemoteError(
                error.machine, f"{cause.message}; and the way back failed: {error.message}"
            ) from cause
