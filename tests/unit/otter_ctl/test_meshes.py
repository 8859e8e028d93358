"""One agent and many are asked in one way: no verb knows which it speaks with."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from otter_ctl.client import AgentClient
from otter_ctl.meshes import Meshes
from otter_ctl.spread import Fleet

CONTROLLER = Path(__file__).parents[3] / "otter_ctl"
KINDS = {"Fleet", "AgentClient", "client"}
CALLS = [n for n, call in vars(Meshes).items() if inspect.isfunction(call) and n[0] != "_"]


def parameters(owner: type, name: str) -> list[tuple[str, object, object]]:
    """What a call takes: names, kinds and defaults."""
    found = inspect.signature(getattr(owner, name)).parameters.values()
    return [(p.name, p.kind, p.default) for p in found]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("who", [AgentClient, Fleet])
def test_both_take_the_same(who, name):
    assert name == "find_mesh" or name in vars(who)
    assert parameters(who, name) == parameters(Meshes, name)


def questions_of_kind(path: Path) -> list[int]:
    """Lines that ask whether something is one agent or all."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("isinstance", "type")
        and KINDS & {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    ]


@pytest.mark.slow
def test_nobody_asks_which_of_both_it_is():
    found = {str(p): questions_of_kind(p) for p in CONTROLLER.rglob("*.py")}
    assert {path: lines for path, lines in found.items() if lines} == {}
