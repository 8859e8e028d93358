"""What becomes of meshes, and of what was built for them, where OTTER is removed. Pure.

The agent's own program takes them down (`otter-agent sweep`), once the agent has been stopped: it
alone knows all that they have, and it does so too where its agent hangs or won't start.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace

from otter_ctl.machine.steps import TOP, Step

CURRENT = f"{TOP}/current"


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to go.

    Attributes:
        name: The machine's.
        meshes: Those that were there when it was asked; None: no agent says which.
        force: They are ended, whichever there are by then.
        images: What was built goes, too; else it stays in the machine's engine.
    """

    name: str
    meshes: tuple[str, ...] | None = ()
    force: bool = False
    images: bool = True

    @property
    def looks(self) -> bool:
        """Whether it is to be seen first that none are there: some may have come since."""
        return not self.force

    @property
    def words(self) -> str:
        """What the agent's program is asked for; "" for nothing."""
        sweeps = self.images or self.force or self.meshes is None
        return f"sweep{' --images' * self.images}" if sweeps else ""

    @property
    def title(self) -> str:
        """The same, for people."""
        done = []
        if self.force and self.meshes:
            done = [f"end the meshes there, with all they have: {', '.join(self.meshes)}"]
        elif self.force:
            done = ["end all meshes that are left there"]
        elif self.meshes is None:
            done = ["remove what is left of meshes that ended"]
        if self.images:
            done.append("remove the images that OTTER built there")
        return ", and ".join(done)


def installed(words: str) -> str:
    """A script that runs the agent's program, where one is installed; one that is gone fails."""
    return f"[ ! -L {CURRENT} ] || {CURRENT}/bin/otter-agent {words}\n"


def around(removal: Removal, stop: Step, run: Callable[[str], str]) -> list[Step]:
    """What is done about meshes, around the agent's end: before that it is seen that it can be.

    Args:
        removal: What is to go.
        stop: Ends the agent.
        run: Words for the agent's program -> a script that runs it, as root over there.
    """
    add = f"otterctl machine add {removal.name}" + " --via docker" * (not stop.root)
    told = shlex.quote(f"the OTTER there is an earlier one, or broken: first {add}")
    able = f"( {run('sweep --help')}) >/dev/null 2>&1 || {{ echo {told} >&2; exit 1; }}\n"
    sweep = [Step(removal.title, run(removal.words), stop.root)] if removal.words else []
    if not removal.looks:
        return [replace(stop, script=able + stop.script), *sweep]
    title, hint = "see that no meshes are there", "destroy them first, or --force ends them"
    if removal.meshes is None:
        title += ", as its agent doesn't answer"
        hint = f"see why it doesn't (otterctl machine check {removal.name}), or --force ends them"
    none = run("sweep --check")
    looks = Step(title, able + none, stop.root, hint)
    return [looks, replace(stop, script=none + stop.script), *sweep]
