"""Parts of the kernel, as the agent tries them and as the system's own tools do."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from otter_agent.facts import features

pytestmark = pytest.mark.netns

TOOLS = {
    "htb": ("tc", "qdisc", "add", "dev", "lo", "root", "handle", "1:", "htb"),
    "netem": ("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"),
    "bridge": ("ip", "link", "add", "probe", "type", "bridge"),
    "nftables": ("nft", "list", "tables"),
}


def test_what_is_told_is_what_the_tools_find() -> None:
    told = {feature.name: feature for feature in features({"vxlan": ""}, "v2", "")}
    for name, command in TOOLS.items():
        if shutil.which(command[0]) is None:
            continue  # told without it, all the same
        done = subprocess.run(["unshare", "-n", *command], capture_output=True, check=False)
        assert told[name].usable == (done.returncode == 0), (name, told[name].detail, done.stderr)
        assert bool(told[name].detail) != told[name].usable
