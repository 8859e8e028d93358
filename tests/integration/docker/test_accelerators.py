"""An image that is made for CUDA, by an engine without any: of stand-ins for its packages.

What is asked of pip, what the image holds and what its containers are told is all there is to see
without a GPU.
"""

from __future__ import annotations

import hashlib

import pytest
from helpers.images import tar
from helpers.wheels import make_wheel
from helpers.workloads import log_text, make_workload, run, until_exit

from otter_agent.api import Build, ModuleSpec
from otter_agent.images.docker import DockerImages
from otter_agent.images.labels import ACCELERATOR
from otter_agent.images.wheelhouse import Wheelhouse

pytestmark = [
    pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300),
]  # fmt: skip

MODULE = b"""
import importlib.util, os, tensorflow
print(tensorflow.version, importlib.util.find_spec("otter_cuda") is not None)
print(os.environ.get("NVIDIA_VISIBLE_DEVICES"), os.environ.get("NVIDIA_DRIVER_CAPABILITIES"))
"""


@pytest.fixture
def index(tmp_path, monkeypatch):
    """All that pip finds: TensorFlow as it is for both, and what its extra brings."""
    folder = tmp_path / "index"
    make_wheel(folder, "numpy", "2.0.0")
    make_wheel(folder, "tensorflow_cpu", "2.21.0")
    make_wheel(folder, "tensorflow", "2.21.0", extras=["and-cuda"],
               requires=["otter-cuda; extra == 'and-cuda'"])  # fmt: skip
    make_wheel(folder, "otter_cuda", "12.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "cache"))


async def test_the_base_for_cuda_has_cudas_packages_and_tells_its_containers(
    docker_url, python_root, index, runtime, layout, agent_id
):
    data = tar({"module.py": MODULE})
    digest = hashlib.sha256(data).hexdigest()
    layout.blobs.mkdir(parents=True, exist_ok=True)
    (layout.blobs / digest).write_bytes(data)
    spec = ModuleSpec(
        name="m", host="h", address="100.64.0.2", runtime="docker", accelerator="cuda",
        build=Build(context=digest, base="tensorflow"),
    )  # fmt: skip
    store = DockerImages(docker_url, layout, Wheelhouse(layout.wheels), agent_id)
    try:
        made = await store.ensure(spec, print)
        found = await store._builder.inspect(made.reference)
        assert found["Config"]["Labels"][ACCELERATOR] == "cuda"
        look = await store.look(spec)
        assert (look.kind, look.present) == ("cuda", True)
        work = make_workload(layout, made.reference)
        await run(runtime, work)
        await until_exit(runtime, work.key)
        said = await log_text(runtime, work.key)
        assert said == ["2.21.0 True", "void compute,utility"]
        await runtime.remove(work.key)
    finally:
        await store.prune(frozenset())
        await store.aclose()
