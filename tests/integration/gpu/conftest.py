"""Agents that load the stand-in for NVIDIA's library by the real binding."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from helpers import nvml
from helpers.otter import Otter, command_line, wait_for


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return nvml.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def machine(library, tmp_path) -> nvml.Machine:
    return nvml.Machine(library, tmp_path / "scenario")


class Asked:
    """An agent, and what it tells of GPUs."""

    def __init__(self, otter: Otter) -> None:
        self.otter = otter

    def state(self) -> dict[str, Any]:
        """`GET /v1/gpus`."""
        connection = http.client.HTTPConnection("agent", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(30)
        connection.sock.connect(str(self.otter.root / "a" / "run" / "agent.sock"))
        try:
            connection.request("GET", "/v1/gpus")
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return json.loads(answer.read())
        finally:
            connection.close()

    def until(self, right: Callable[[dict[str, Any]], Any], why: str) -> dict[str, Any]:
        """The first state that is right."""

        def look() -> dict[str, Any] | None:
            state = self.state()
            return state if right(state) else None

        return wait_for(look, why)

    def events(self) -> list[dict[str, Any]]:
        """Of GPUs."""
        lines = self.otter("events", "--json").stdout.splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == "gpu"]

    def readers(self) -> list[int]:
        """pids of the agent's readers."""
        return [p for p in self.otter.processes() if "otter_agent.gpu" in command_line(p)]


@pytest.fixture
def asked(otter, machine) -> Asked:
    """An agent that isn't started yet: `asked.otter.serve()`."""
    otter.env.update(machine.env)
    return Asked(otter)


@pytest.fixture
def asked_of_containers(require, dockerd, machine):
    """As `asked`, with an engine."""
    require("netns", os.geteuid() == 0, "not root")
    otter = Otter(docker=dockerd.url)
    otter.env.update(machine.env)
    yield Asked(otter)
    otter.close()
