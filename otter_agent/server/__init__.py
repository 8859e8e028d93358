"""The agent's HTTP API over a Unix socket, one file per subject."""

from otter_agent.server.app import make_app, serving

__all__ = ["make_app", "serving"]
