"""What a machine has, as files and the kernel tell it."""

from __future__ import annotations

from otter_agent import api
from otter_agent.facts import TRIED, devices, features


def test_accelerators_are_told_by_their_devices(tmp_path):
    for name in ("dev/nvidia0", "dev/nvidia10", "dev/nvidia2", "dev/nvidiactl", "dev/kfd",
                 "dev/dri/renderD128", "dev/apex_0"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    card = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0/information"
    card.parent.mkdir(parents=True)
    card.write_text("Model: \t\t NVIDIA H100\nDevice Minor: \t 0\nno colon\n")
    found = [(a.kind, a.device, a.name) for a in devices(tmp_path)]
    assert found == [
        ("nvidia", "/dev/nvidia0", "NVIDIA H100"),
        ("nvidia", "/dev/nvidia2", ""),
        ("nvidia", "/dev/nvidia10", ""),
        ("amd", "/dev/kfd", ""),
        ("coral", "/dev/apex_0", ""),
        ("render", "/dev/dri/renderD128", ""),
    ]
    assert devices(tmp_path / "nothing") == ()


def test_what_is_known_isnt_tried_again():
    """Without the right to make namespaces each part has that as its reason."""
    told = {f.name: f for f in features(dict.fromkeys(TRIED, "needs root"), "none", "no mount")}
    assert told.keys() == {"bridge", "cgroup", "htb", "netem", "nftables", "tun", "vxlan"}
    assert told["htb"] == api.Feature(name="htb", usable=False, detail="needs root")
    assert told["cgroup"] == api.Feature(name="cgroup", usable=False, detail="no mount")
    good = {f.name: f for f in features(dict.fromkeys(TRIED, ""), "v2", "")}
    assert good["cgroup"] == api.Feature(name="cgroup", usable=True, detail="v2")
    assert good["vxlan"].usable


def test_an_agents_word_of_another_version_can_be_read():
    """It says which version it speaks: that has to be readable whatever else it says."""
    told = api.encode(
        {
            "agent": "a", "version": "9", "api_version": 99, "pid": 1, "root": "/", "machine": "m",
            "cpus": 1, "memory_bytes": 1, "arch": "x", "kernel": "6", "cgroup": "v2",
            "runtimes": [], "something": "new",
        }
    )  # fmt: skip
    assert api.decode(told, api.Info).api_version == 99
