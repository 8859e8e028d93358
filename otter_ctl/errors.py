"""Errors of the controller.

    OtterError (net.errors)
      TopologyError(ValueError)    one problem of a topology file: path, line, column, key, reason
      TopologyErrors(ValueError)   all problems of one file
      PlanError                    a sound topology that can't be planned: where, reason
        PlacementError             module, rejected: {host: reason}
      UnknownNameError             a name of nothing that is there: where, reason
      ResultsError                 results that could not be written whole: module, how much
      TraceError                   nothing is known of a message: where was looked
      CopyError                    a file that can't be copied: path, why
      RemoteError                  machine
        AgentUnreachable           no agent answers: socket, why
        AgentNotStarted            it was started and ended at once
        MachineUnreachable         SSH leads to no machine: why, what to do
        PartMissing                it has no part of a mesh, the others say it has
        FetchError                 not everything could be fetched: how much is missing
        AgentFault                 the agent refused: problem, code; codes are stable
      MachinesError                several machines, each with its own trouble

Must not know: the CLI, sockets, how errors are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from net.errors import OtterError
from otter_ctl.printable import printable
from otter_ctl.system import no_agent, where_instead

if TYPE_CHECKING:  # the CLI's start shouldn't pay for msgspec
    from otter_agent.api import Problem


class TopologyError(OtterError, ValueError):
    """One problem of a topology file; printed as ``file:line: key: reason; hint``.

    Attributes:
        path: The file, as it was named by the caller.
        line: Counts from 1; where a key is missing, the line of its table's header; 0: it is about
            a folder.
        column: Characters, counts from 1.
        key: Dotted key, links and streams by their names: ``links.radio.rate``.
        reason: What is wrong, one line.
        override: The ``--set`` text that brought the value; None if the file did.
    """

    def __init__(
        self,
        path: str,
        line: int,
        column: int,
        key: str,
        reason: str,
        hint: str = "",
        *,
        override: str | None = None,
    ) -> None:
        where = printable(path, 4096) + (f":{line}" if line else "")
        where = where if override is None else f"--set {override}"
        super().__init__(f"{where}: {key}: {reason}" if key else f"{where}: {reason}", hint=hint)
        self.path = path
        self.line = line
        self.column = column
        self.key = key
        self.reason = reason
        self.override = override


class TopologyErrors(OtterError, ValueError):  # noqa: N818 - several of them
    """Every problem of a topology file, in the order of its lines; one line each when printed."""

    def __init__(self, errors: Sequence[TopologyError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)

    def __iter__(self) -> Iterator[TopologyError]:
        return iter(self.errors)


class PlanError(OtterError):
    """A topology makes sense by itself, but no plan can be made of it.

    Args:
        where: What can't be planned: ``module asr``, ``modules.asr.build``.
        reason: Why, one line.
        hint: What to try.

    Attributes:
        at: ``file:line`` of that, once somebody has looked it up; empty: nobody has.
    """

    def __init__(self, where: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: {reason}", hint=hint)
        self.where = where
        self.reason = reason
        self.at = ""

    def locate(self, at: str) -> None:
        """Say where in which file it is written."""
        self.at = at
        self.message = f"{at}: {self.where}: {self.reason}"


class PlacementError(PlanError):
    """No host has room for a module, or no machine for a host.

    Attributes:
        module: Its name, or the host's.
        rejected: Name of each host, or machine -> why not there.
    """

    def __init__(self, module: str, rejected: Mapping[str, str], *, kind: str = "module") -> None:
        room = _ROOMS[kind]
        reasons = [f"{host} {why}" for host, why in rejected.items()]
        shown = "; ".join(reasons[:5]) + (f"; and {len(reasons) - 5} more" if reasons[5:] else "")
        super().__init__(
            f"{kind} {module}",
            f"fits on no {room} ({shown})" if shown else f"there is no {room} that it may be on",
            hint=_ROOM_HINTS[kind],
        )
        self.module = module
        self.rejected = dict(rejected)


_ROOMS = {"module": "host", "host": "machine"}
_ROOM_HINTS = {
    "module": "give a host more, or name the module's `host`",
    "host": 'ask for less, or let it be on other machines: `among = "*"` for all of your site file',
}


class UnknownNameError(OtterError):
    """A name stands for nothing that is there now, whatever it is of.

    Args:
        where: What was named: ``module asr``.
        reason: Why that is nothing, one line.
        hint: What there is.
    """

    def __init__(self, where: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: {reason}", hint=hint)
        self.where = where
        self.reason = reason


class ResultsError(OtterError):
    """Results of a module that could not be written whole.

    Attributes:
        module: Whose.
        missing_files: Number of files that are missing; 0: unknown.
        missing_bytes: What they take.
    """

    def __init__(
        self,
        module: str,
        why: str,
        *,
        hint: str = "",
        missing_files: int = 0,
        missing_bytes: int = 0,
    ) -> None:
        super().__init__(f"results of module {module}: {why}", hint=hint)
        self.module = module
        self.missing_files = missing_files
        self.missing_bytes = missing_bytes


class TraceError(OtterError):
    """Nothing is known of a message.

    Attributes:
        where: Where was looked.
    """

    def __init__(self, where: str, why: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: {why}", hint=hint)
        self.where = where


class CopyError(OtterError):
    """A file or folder that can't be copied.

    Attributes:
        path: As the caller named it.
    """

    def __init__(self, path: str, why: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {why}", hint=hint)
        self.path = path


class RemoteError(OtterError):
    """Something failed on a machine.

    Args:
        machine: Its name.
        message: What failed and why, one line.
        hint: What to try.
    """

    def __init__(self, machine: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{machine}: {message}", hint=hint)
        self.machine = machine


class AgentUnreachable(RemoteError):  # noqa: N818 - the field's word
    """No agent answers.

    Args:
        machine: Its name.
        socket: Where it was looked for.
        why: What happened, one line.
    """

    def __init__(self, machine: str, socket: str, why: str) -> None:
        hint = "start one: `otterctl apply` does, or `otter-agent serve`"
        if machine != "local":
            hint = f"`otterctl machine check {machine}` looks, `otterctl machine add` installs one"
        elif elsewhere := no_agent():
            why, hint = elsewhere, where_instead()
        super().__init__(machine, f"no agent answers at {socket}: {why}", hint=hint)
        self.socket = socket
        self.why = why


class AgentNotStarted(RemoteError):  # noqa: N818 - the field's word
    """An agent was started and ended, or didn't answer in time."""


class MachineUnreachable(RemoteError):  # noqa: N818 - the field's word
    """SSH leads to no machine; its agent may well go on."""


class PartMissing(RemoteError):  # noqa: N818 - the field's word
    """A machine answers, but hasn't got the part of a mesh that the others say it has."""


class MachinesError(OtterError):
    """Several machines failed; a line each when printed.

    Attributes:
        errors: What each said.
    """

    def __init__(self, errors: Sequence[OtterError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = tuple(errors)


class FetchError(RemoteError):
    """Not everything could be fetched; nothing was removed, where it is.

    Attributes:
        missing_bytes: As far as it is known.
    """

    def __init__(
        self, machine: str, message: str, *, hint: str = "", missing_bytes: int = 0
    ) -> None:
        super().__init__(machine, message, hint=hint)
        self.missing_bytes = missing_bytes


class AgentFault(RemoteError):  # noqa: N818 - the field's word
    """The agent refused a request, or failed at it.

    Attributes:
        problem: Its answer.
        code: The answer's stable word for programs, see docs/architecture.md.
    """

    def __init__(self, machine: str, problem: Problem) -> None:
        super().__init__(machine, problem.message, hint=problem.hint)
        self.problem = problem
        self.code = problem.code
