"""Errors of labs.

OtterError
  LabError      what failed, why, what to try
"""

from __future__ import annotations

from net.errors import OtterError


class LabError(OtterError):
    """A lab can't be made, changed or taken down.

    Args:
        what: What failed, and why, one line.
        hint: What to try.
    """

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"lab: {what}", hint=hint)
