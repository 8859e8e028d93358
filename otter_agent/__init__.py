"""One machine's agent. Import-light on purpose: `otter_agent.api` is also the controller's."""
