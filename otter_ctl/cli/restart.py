"""`otterctl restart`."""

from __future__ import annotations

from otter_ctl.cli.ordering import verb

command = verb(
    "restart",
    """Stop modules and start them again; waits until they are ready. All others keep running.

    Their work folders and addresses are kept; `status` counts it under `restarts`.
    """,
    """\b
Examples:
  otterctl restart asr
  otterctl restart 'client-*' --json
""",
)
