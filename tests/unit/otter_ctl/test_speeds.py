"""What `plan` says of hosts' cores: of a speed, or of a device whose speed nobody knows."""

from __future__ import annotations

import pytest

from otter_ctl.planning.speeds import speed_lines
from otter_ctl.topology.profiles import profiles

HOSTS = """\
name = "m"
[hosts.edge]
profile = "jetson-orin-nano"
[hosts.half]
profile = "jetson-orin-nano"
cpu = 1
count = 3
[hosts.known]
profile = "jetson-orin-nano"
speed = 0.25
[hosts.plain]
cpu = 2
"""


def test_a_device_without_a_speed_is_named(read):
    lines = speed_lines(read(HOSTS), {}, {})
    unknown = "as fast as the machine's, as no source gives theirs; write speed = …"
    assert lines[0] == f"host edge: profile jetson-orin-nano: 6 cores {unknown}"
    assert lines[1] == f"host half: profile jetson-orin-nano: 1 core {unknown}"
    assert lines[2].startswith("host known: 6 cores of speed 0.25")
    assert len(lines) == 3  # the three of a count together, and nothing of who names no device


@pytest.mark.parametrize("name", profiles("hosts"))
def test_of_each_device_there_is_one_line(read, name):
    (line,) = speed_lines(read(f'name = "m"\n[hosts.a]\nprofile = "{name}"\n'), {}, {})
    has_speed = "speed" in profiles("hosts")[name].values
    assert ("no source gives theirs" in line) is not has_speed


def test_what_is_not_the_way_to_a_server_is_marked():
    """5g-mid and 5g-mmwave side by side mislead: half a round trip, and the radio alone."""
    parts = {name: profile.part for name, profile in profiles("links").items()}
    assert parts["5g-mid"] == ""
    assert parts["5g-mmwave"] == parts["6g-sub-thz"] == "the radio alone"
