"""Errors of one machine's agent.

OtterError (net.errors)
AgentError(code)      what the API answers with; codes are stable, see docs/architecture.md
DriverError (net.errors)
ContainerError
ImageError          carries the last lines of the build
NetworkError
CgroupError
"""

from __future__ import annotations

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
