"""`Ground`: what this agent has of a machine, why it lacks the rest, how it comes to stand there.

Must not know: meshes, drivers, HTTP.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from otter_agent.api.places import Places, places_of, strangers
from otter_agent.cgroups import Cgroups, open_cgroups
from otter_agent.ground import asking, delegation, userns
from otter_agent.layout import Layout
from otter_agent.users import user_name

_SCOPED = "OTTER_SCOPED"
"""Set for the process that goes on in a scope: it doesn't look for one again."""
_SCOPE_S = 10.0
_NO_ENGINE = (
    "an agent without root can't join an engine's containers to a mesh, whoever may use the"
    " engine; the process runtime is used"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What an agent stands on.

    Attributes:
        places: Its folders.
        user: Who runs it, where that isn't root; "" for root.
        lacks: Why it has no namespaces, so no network of meshes; "" where it has.
        base: Below which cgroup it makes budgets; None: wherever the machine has them.
        no_budgets: Why it can make none; "" where it isn't known yet that it can't.
        entered: Keeps the namespaces.
    """

    places: Places
    user: str = ""
    lacks: str = ""
    base: Path | None = None
    no_budgets: str = ""
    entered: asking.Entered | None = None

    @property
    def layout(self) -> Layout:
        """All its paths."""
        return Layout(self.places.run, self.places.lib)

    @property
    def no_engine(self) -> str:
        """Why no Docker engine can be used from here; "" where one can, if there is one."""
        return _NO_ENGINE if self.user else ""

    def cgroups(self, agent_id: str) -> Cgroups:
        """Where this agent makes budgets, unless `no_budgets` says why it can't.

        Raises:
            CgroupError: This machine has none.
        """
        if self.base is None:
            return open_cgroups(agent_id)
        from otter_agent.cgroups.v2 import CgroupsV2

        return CgroupsV2(agent_id, self.base)


def find(root: Path | None) -> Places:
    """Where this user's agent has its things; its `run` folder is there, and nobody else's.

    May begin this program anew, so it comes first.

    Raises:
        OSError: The folder can't be made, or is somebody else's.
    """
    places = places_of(root, os.geteuid(), os.environ)
    if os.geteuid():
        _go_on_in_scope()
        places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        if why := strangers(places.run, os.geteuid()):
            raise PermissionError(why)
        places.run.chmod(0o700)  # others' way to the API ends here
    return places


def stand(places: Places) -> Ground:
    """Come to stand where this user's agent does; to be called once, before there are threads.

    An ordinary user's process is in namespaces of its own afterwards, root there; if it can't have
    them it stays where it is, and `lacks` says why. Only who has the agent's lock may do so: what a
    killed holder left is ended.
    """
    if os.geteuid() == 0:
        return Ground(places=places)
    user = user_name(os.geteuid())
    try:
        entered = asking.enter(places.run)
    except userns.NoNamespaces as why:
        return Ground(places=places, user=user, lacks=str(why), no_budgets=str(why))
    no_budgets = entered.why or (delegation.join(entered.base) if entered.base else "")
    return Ground(
        places=places,
        user=user,
        base=entered.base,
        no_budgets=no_budgets,
        entered=entered,
    )


def visit(root: Path | None) -> Ground:
    """As `stand`, in namespaces that end with this process: to look what an agent would have."""
    places, user = places_of(root, os.geteuid(), os.environ), user_name(os.geteuid())
    if os.geteuid() == 0:
        return Ground(places=places)
    _go_on_in_scope()
    given = delegation.find()
    try:
        userns.become_root(f"visit-{os.getpid()}")
    except userns.NoNamespaces as why:
        return Ground(places=places, user=user, lacks=str(why), no_budgets=str(why))
    return Ground(places=places, user=user, base=given.base, no_budgets=given.why)


def _go_on_in_scope() -> None:
    """Have the user's systemd give this process a cgroup to share out, where it would.

    It becomes another program for a moment and then itself again, with the same pid. Source:
    systemd-run(1), `--scope`.
    """
    if os.environ.pop(_SCOPED, "") or delegation.is_alone():
        return
    tool = shutil.which("systemd-run")
    if tool is None or not os.environ.get("XDG_RUNTIME_DIR"):
        return
    words = [tool, "--user", "--scope", "--quiet", "--collect", "-p", "Delegate=yes", "--"]
    try:
        quiet = subprocess.DEVNULL
        done = subprocess.run(
            [*words, "true"], stdin=quiet, stdout=quiet, stderr=quiet, timeout=_SCOPE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode == 0:
        os.environ[_SCOPED] = "1"
        os.execv(tool, [*words, *sys.orig_argv])  # noqa: S606 - no shell on purpose
