"""`otterctl start`."""

from __future__ import annotations

from otter_ctl.cli.ordering import verb

command = verb(
    "start",
    """Start modules that were stopped, have ended or have failed; waits until they are ready.

    Their work folders and addresses are those they had. What runs is left alone.
    """,
    """\b
Examples:
  otterctl start asr
  otterctl start 'client-*' --no-wait
  otterctl start --all
""",
)
