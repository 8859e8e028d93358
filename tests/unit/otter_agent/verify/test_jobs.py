"""Which directions names, globs and arrows stand for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from net.links.spec import LinkSpec
from otter_agent import api
from otter_agent.errors import AgentError
from otter_agent.verify.certifier import checked
from otter_agent.verify.jobs import chosen

ANY = LinkSpec()
BOTH = "up-1:phone>edge up-1:edge>phone"
SPEC = api.MeshSpec(
    name="m",
    run="r",
    links=(
        api.Link(name="up-1", a="phone", b="edge", forward=ANY, reverse=ANY),
        api.Link(name="up-2", a="tablet", b="edge", forward=ANY, reverse=ANY),
        api.Link(name="one-way", a="edge", b="phone", forward=ANY),
    ),
)


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ((), f"{BOTH} up-2:tablet>edge up-2:edge>tablet one-way:edge>phone"),
        (("up-1",), BOTH),
        (("up-*:*>edge",), "up-1:phone>edge up-2:tablet>edge"),
        (("*:edge>phone", "up-1"), f"{BOTH} one-way:edge>phone"),
    ],
)  # fmt: skip
def test_what_patterns_stand_for(patterns, found):
    assert list(map(str, chosen(SPEC, patterns))) == found.split()


@pytest.mark.parametrize("patterns", [("*",) * 1001, ("*" * 601,)])
def test_names_without_an_end_are_refused(patterns):
    """Each is compared with each link, on the agent's loop."""
    with pytest.raises(AgentError, match="names of links, or over 600 characters in one"):
        chosen(SPEC, patterns)


@pytest.mark.parametrize(
    "pattern", ["up", "up-1:edge", "up-1:phone>tablet", "one-way:phone>edge", ""]
)
def test_what_stands_for_nothing_is_named(pattern):
    with pytest.raises(AgentError) as caught:
        chosen(SPEC, (pattern,))
    assert caught.value.code == "not-found"
    assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "tolerance", "said"),
    [
        ("speed", api.VerifyTolerance(absolute=1), "no tolerance 'speed'"),
        ("delay", api.VerifyTolerance(absolute=-1), "must not be negative"),
        ("delay", api.VerifyTolerance(relative=float("nan")), "must not be negative"),
    ],
)
def test_tolerances_that_make_no_sense_are_refused(name, tolerance, said):
    with pytest.raises(AgentError, match=said):
        checked(api.VerifyRequest(tolerances={name: tolerance}))


@pytest.mark.slow
def test_the_agent_starts_without_the_statistics():
    """numpy takes a tenth of a second, which every `apply` that starts an agent would wait for."""
    show = "import sys, otter_agent.server.app; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
