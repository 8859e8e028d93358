"""Whether an image can run as a module at all: told before its container is made. Pure.

Must not know: engines, how images come here.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from otter_agent.api import ModuleSpec
from otter_agent.images.base import BuildLog
from otter_agent.images.steps import Step

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
"""As images name architectures, by what the kernel calls them."""


def check_runnable(
    inspected: Mapping[str, Any], name: str, module: ModuleSpec, log: BuildLog
) -> None:
    """Refuse what says nothing to run; warn of what is meant for another kind of machine.

    An image may be mislabelled, or emulation may be set up, so another architecture is no error
    here: if its program can't be run, the module's log says so.

    Args:
        inspected: The answer of `GET /images/NAME/json`.
        name: What the user calls the image.
        module: Who is to run it.
        log: Gets the warning.

    Raises:
        ImageError: Neither the image nor the module has a command.
    """
    config = inspected.get("Config") or {}
    if not (module.command or config.get("Entrypoint") or config.get("Cmd")):
        raise Step("docker", "run", name).failed(
            "the image has neither an entrypoint nor a command",
            hint='say what to run, as in command = ["/bin/server"]',
        )
    own = _GO_NAMES.get(platform.machine(), platform.machine())
    arch = inspected.get("Architecture") or own
    if arch != own:
        log(f"warning: {name} is an image for {arch}, and this machine is {own}")
