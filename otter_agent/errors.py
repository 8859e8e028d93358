"""Errors of one machine's agent.

OtterError (net.errors)
AgentError(code)      what the API answers with; codes are stable, see docs/architecture.md
Locked              somebody else changes the mesh now: which process
DriverError (net.errors)
ContainerError
ImageError          carries the last lines of the build
NetworkError
CgroupError
StorageError
"""

from __future__ import annotations

import traceback

from net.errors import DriverError, OtterError


class AgentError(OtterError):
    """A request that the agent refuses.

    Args:
        code: Stable word for programs: ``not-found``, ``bad-request``, ``missing-blobs``, …
        message: One line for people.
        hint: What to try.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Locked(AgentError):  # noqa: N818 - the code's word
    """Somebody else changes the mesh now.

    Args:
        controller: Which process does: see `api.Lease`.
        message: One line for people.
        hint: What to try.
    """

    def __init__(self, controller: str, message: str, *, hint: str = "") -> None:
        super().__init__("locked", message, hint=hint)
        self.controller = controller


class ContainerError(DriverError):
    """A runtime could not create, start, stop or remove a module's instance."""


class ImageError(DriverError):
    """An image or environment could not be made.

    Attributes:
        tail: The last lines of the failing step's output.
    """

    tail: tuple[str, ...] = ()


class NetworkError(DriverError):
    """A namespace, device, address or route could not be made.

    Attributes:
        errno: The kernel's error number; 0 if the kernel wasn't asked.
    """

    errno: int = 0


class CgroupError(DriverError):
    """A budget could not be set or read back."""


class StorageError(DriverError):
    """A work folder that holds so much and no more could not be made.

    Args:
        path: Which.
        why: What failed.
        hint: What to try.
    """

    def __init__(self, path: object, why: str, *, hint: str = "") -> None:
        super().__init__("storage", "make", str(path), why, hint=hint)


def explained(error: Exception) -> OtterError:
    """An error that can be shown; one that nobody expected is a bug, and goes to the log whole."""
    if isinstance(error, OtterError):
        return error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return OtterError(f"{where}{error.strerror or error}")
    traceback.print_exception(error)
    return OtterError(
        f"internal error: {type(error).__name__}: {error}",
        hint="the agent's log has the details; please report it",
    )
