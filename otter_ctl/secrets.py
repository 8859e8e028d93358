"""Secrets: names are in the topology, values in the environment of whoever applies it. Pure.

A value goes from here to the agent by a call of its own, and into no file, plan or message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from otter_ctl.errors import PlanError

if TYPE_CHECKING:  # `otterctl --help` shouldn't pay for msgspec
    from otter_agent import api

_KEPT = frozenset(
    {
        "DOCKER_HOST", "HOME", "HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "LANG",
        "LANGUAGE", "LOGNAME", "NO_COLOR", "PATH", "REQUESTS_CA_BUNDLE", "SHELL", "TERM", "TMPDIR",
        "TZ", "USER", "VIRTUAL_ENV", "all_proxy", "ftp_proxy", "http_proxy", "https_proxy",
        "no_proxy", "ALL_PROXY", "FTP_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    }
)  # fmt: skip
_KEPT_PREFIXES = ("OTTER_", "PYTHON", "PIP_", "UV_", "LC_", "LD_", "SSL_", "XDG_", "COVERAGE_")


def gather(spec: api.MeshSpec, environ: Mapping[str, str]) -> dict[str, str]:
    """The value of each secret that a mesh's modules name.

    Raises:
        PlanError: One is missing; names it and its first module.
    """
    found: dict[str, str] = {}
    for module in spec.modules:
        for name in module.secrets:
            if not environ.get(name):
                why = "is empty" if name in environ else "is not set"
                raise PlanError(
                    f"module {module.name}: secrets",
                    f"{name} {why} in your environment",
                    hint=f"export {name}=… and apply again; nothing was changed",
                )
            found[name] = environ[name]
    return found


def present(spec: api.MeshSpec, environ: Mapping[str, str]) -> dict[str, str]:
    """The values of those secrets that there are."""
    named = {name for module in spec.modules for name in module.secrets}
    return {name: environ[name] for name in sorted(named) if environ.get(name)}


def environment_of_agent(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment an agent that is started from here gets.

    It outlives the caller, and everyone who may may read a process's environment: no tokens.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
