"""`otterctl stop`."""

from __future__ import annotations

from otter_ctl.cli.ordering import verb

command = verb(
    "stop",
    """Stop modules: SIGTERM (or the image's stop signal), after 5 s SIGKILL.

    They stay stopped, whatever is restarted meanwhile, until `start`, `restart` or `apply`. Work
    folders and addresses are kept. What is done stays done.
    """,
    """\b
Examples:
  otterctl stop asr
  otterctl stop -m lab 'client-*'
  otterctl stop --all
""",
)
