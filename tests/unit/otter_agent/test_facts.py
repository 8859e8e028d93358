"""What a machine has, as files and the kernel tell it."""

from __future__ import annotations

import pytest

from otter_agent import api
from otter_agent.abilities import accelerators
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


JETPACK_6 = """\
# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8
# KERNEL_VARIANT: oot
"""


@pytest.mark.parametrize(
    ("nodes", "device"),
    [
        (["dev/nvhost-gpu", "dev/nvhost-ctrl-gpu"], "/dev/nvhost-gpu"),  # JetPack 5
        (["dev/nvgpu/igpu0/ctrl", "dev/nvgpu/igpu0/as"], "/dev/nvgpu/igpu0"),  # JetPack 6
        (["dev/nvhost-gpu", "dev/nvgpu/igpu0/ctrl"], "/dev/nvhost-gpu"),  # both: one GPU
    ],
)
def test_a_jetsons_gpu_is_told_with_its_board_and_its_system(tmp_path, nodes, device):
    for name in nodes:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    bare = [api.Accelerator(kind="jetson", device=device)]
    assert list(devices(tmp_path)) == bare
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    board = "NVIDIA Jetson Orin Nano Developer Kit"
    (tmp_path / "proc/device-tree/model").write_bytes(board.encode() + b"\0")
    (tmp_path / "etc/nv_tegra_release").write_text(JETPACK_6)
    assert accelerators(tmp_path) == ("l4t",)
    [gpu] = devices(tmp_path)
    assert (gpu.device, gpu.name) == (device, f"{board}, Jetson Linux 36.4.3")
    (tmp_path / "etc/nv_tegra_release").write_text("rubbish")
    assert devices(tmp_path)[0].name == board


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
