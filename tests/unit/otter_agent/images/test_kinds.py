"""Which base a module gets on which kind of machine, and what a machine can run at all."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from otter_agent.abilities import accelerators, can_emulate
from otter_agent.errors import ImageError
from otter_agent.images.bases import base_of_processes, find_base, kinds
from otter_agent.images.kinds import image_arch, kind_of
from otter_agent.images.wheelhouse import TORCH_INDEX_VARIABLE, torch_index

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("arch", "accelerator", "kind"),
    [
        ("x86_64", "cpu", "cpu-amd64"),
        ("arm64", "cpu", "cpu-arm64"),
        ("amd64", "cuda", "cuda"),
        ("aarch64", "cuda", "cuda-arm64"),
        ("aarch64", "l4t", "l4t"),
        ("x86_64", "l4t", "l4t-amd64"),
    ],
)
def test_kinds_have_names(arch, accelerator, kind):
    assert kind_of(arch, accelerator) == kind


def test_the_data_file_has_a_root_for_each_kind():
    assert kinds() == ("cpu-amd64", "cpu-arm64", "cuda", "l4t")
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    lowest = tuple(map(int, needed.removeprefix(">=").split(".")))
    for kind in kinds():
        base = find_base("torch", kind)
        assert base.kind == kind
        assert base.root
        assert tuple(map(int, base.python.split("."))) >= lowest, "modules couldn't import net"
    assert find_base("python").kind == kind_of(image_arch())
    for kind in ("cuda", "l4t"):  # no base gives its containers GPUs that they weren't granted
        assert list(find_base("python", kind).env) == ["NVIDIA_DRIVER_CAPABILITIES"]


def test_other_processors_get_the_usual_root_and_other_accelerators_none():
    assert find_base("python", "cpu-riscv64").root == find_base("python", "cpu-amd64").root
    with pytest.raises(ImageError, match="none for machines of kind l4t-amd64") as caught:
        find_base("python", "l4t-amd64")
    assert "cuda" in caught.value.hint
    with pytest.raises(ImageError, match="unknown base") as caught:
        find_base("pyton")
    assert "'python'" in caught.value.hint


def test_torch_is_of_what_it_is_to_run_on_not_of_who_builds_it(monkeypatch):
    monkeypatch.delenv(TORCH_INDEX_VARIABLE, raising=False)
    assert torch_index(find_base("torch", "cpu-amd64").accelerator).endswith("/cpu")
    assert torch_index(find_base("torch", "cuda").accelerator) == ""
    monkeypatch.setenv(TORCH_INDEX_VARIABLE, "https://own")
    assert torch_index("cpu") == "https://own"


def test_tensorflow_is_of_what_it_is_to_run_on_too():
    cpu = find_base("tensorflow", "cpu-amd64")
    assert [r for r in cpu.requirements if r.startswith("tensorflow")] == ["tensorflow-cpu==2.21.0"]
    for cuda in (find_base("tensorflow", "cuda"), base_of_processes("tensorflow", "cuda")):
        (one,) = (r for r in cuda.requirements if r.startswith("tensorflow"))
        assert one == "tensorflow[and-cuda]==2.21.0"
    assert base_of_processes("tensorflow").requirements == cpu.requirements
    assert base_of_processes("torch", "l4t").requirements == find_base("torch").requirements


def test_accelerators_are_known_by_their_drivers(tmp_path):
    assert accelerators(tmp_path) == ()
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM version: …")
    assert accelerators(tmp_path) == ("cuda",)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36")
    assert accelerators(tmp_path) == ("cuda", "l4t")


def test_what_is_emulated_is_known_by_the_kernels_handlers(tmp_path):
    assert not can_emulate("arm64", tmp_path)
    handlers = tmp_path / "proc/sys/fs/binfmt_misc"
    handlers.mkdir(parents=True)
    (handlers / "qemu-aarch64").write_text("enabled")
    assert can_emulate("arm64", tmp_path)
    assert not can_emulate("riscv64", tmp_path)
