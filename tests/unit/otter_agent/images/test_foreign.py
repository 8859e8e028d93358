"""Folders and images that know nothing of OTTER: what they get, and what is said of them early."""

from __future__ import annotations

import platform

import pytest

from otter_agent.api import ModuleSpec
from otter_agent.errors import ImageError
from otter_agent.images.context import Needs
from otter_agent.images.runnable import check_runnable

OTHER = "arm64" if platform.machine() == "x86_64" else "amd64"


@pytest.mark.parametrize(
    ("dockerfile", "needs"),
    [
        (None, Needs(base=True, wheels=True)),
        ("ARG OTTER_BASE\nFROM ${OTTER_BASE}\n", Needs(base=True, wheels=False)),
        ("FROM python\nCOPY .otter/wheels /w\n", Needs(base=False, wheels=True)),
        ("FROM rust AS build\nRUN cargo build\n", Needs(base=False, wheels=False)),
    ],
)
def test_a_dockerfile_gets_what_it_names(tmp_path, dockerfile, needs):
    """And nothing else: no base is made for it, no requirements.txt of it is fetched."""
    if dockerfile is not None:
        (tmp_path / "Dockerfile").write_text(dockerfile)
    assert Needs.of(tmp_path) == needs


def module(*command: str) -> ModuleSpec:
    return ModuleSpec(
        name="m",
        host="h",
        address="100.64.0.2",
        runtime="docker",
        image="x",
        command=command or None,
    )


@pytest.mark.parametrize("config", [{}, {"Config": None}, {"Config": {"Cmd": None}}])
def test_nothing_to_run_is_told_by_the_images_own_name(config):
    with pytest.raises(
        ImageError, match=r"repo/x:1.* neither an entrypoint nor a command"
    ) as caught:
        check_runnable(config, "repo/x:1", module(), print)
    assert "command =" in caught.value.hint
    check_runnable(config, "repo/x:1", module("/run"), print)


@pytest.mark.parametrize("config", [{"Entrypoint": ["/x"]}, {"Cmd": ["/x"], "Entrypoint": None}])
def test_another_architecture_is_a_warning(config):
    """It may be mislabelled, or emulated: its first exec tells."""
    said: list[str] = []
    check_runnable({"Config": config, "Architecture": OTHER}, "x", module(), said.append)
    assert said == [f"warning: x is an image for {OTHER}, and this machine is {amd_or_arm()}"]
    check_runnable({"Config": config, "Architecture": amd_or_arm()}, "x", module(), said.append)
    assert len(said) == 1


def amd_or_arm() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
