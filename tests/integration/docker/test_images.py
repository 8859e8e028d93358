"""Images built for real: on a debootstrap root, from wheels, once per content; then removed."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from contextlib import aclosing

import pytest
from helpers.dockerd import Dockerd
from helpers.images import tar
from helpers.wheels import make_wheel
from helpers.workloads import log_text, make_workload, run, until_exit

from otter_agent.api import Build, ModuleSpec
from otter_agent.errors import ImageError
from otter_agent.images.bases import find_base
from otter_agent.images.docker import DockerImages
from otter_agent.images.wheelhouse import Wheelhouse
from otter_agent.layout import Layout

pytestmark = [
    pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600),
]  # fmt: skip

KEEPER = "t-keeper"
HELLO = b"""
import os, sys, numpy, net
print(sys.prefix, numpy.arange(3).sum(), net.__file__.split('/')[-2], os.getcwd())
"""


class Log(list):
    """A build log to look at."""

    def __call__(self, line: str) -> None:
        self.append(line)

    def has(self, text: str) -> bool:
        return any(text in line for line in self)


@pytest.fixture(scope="session")
def shared_wheels(tmp_path_factory):
    """Fetched once for all tests."""
    return tmp_path_factory.mktemp("wheels")


async def _make_base(docker_url, root, wheels) -> None:
    """Another agent's base of the same content: tests find it and leave it."""
    store = DockerImages(docker_url, Layout.at(root), Wheelhouse(wheels), KEEPER)
    await store._bases.ensure(find_base("python"), Log())
    await store.aclose()


@pytest.fixture(scope="session")
def warm(docker_url, python_root, shared_wheels, tmp_path_factory) -> None:
    asyncio.run(_make_base(docker_url, tmp_path_factory.mktemp("keeper"), shared_wheels))


@pytest.fixture
async def store(docker_url, warm, shared_wheels, layout, agent_id):
    store = DockerImages(docker_url, layout, Wheelhouse(shared_wheels), agent_id)
    yield store
    await store.prune(frozenset())
    await store.aclose()


def module(layout: Layout, files: dict[str, bytes], name: str = "mod") -> ModuleSpec:
    """A module whose folder was uploaded."""
    data = tar({**files, "mark": uuid.uuid4().bytes})  # no two tests share a content
    digest = hashlib.sha256(data).hexdigest()
    layout.blobs.mkdir(parents=True, exist_ok=True)
    (layout.blobs / digest).write_bytes(data)
    return ModuleSpec(
        name=name, host="h", address="100.64.0.2", runtime="docker", build=Build(context=digest)
    )


async def output(runtime, layout, artifact) -> list[str]:
    """What a container of the artifact prints until it ends well."""
    work = make_workload(layout, artifact.reference, module=f"m{artifact.digest[:6]}")
    await run(runtime, work)
    ended = await until_exit(runtime, work.key)
    lines = await log_text(runtime, work.key)
    assert ended.exit_code == 0, lines
    await runtime.remove(work.key)
    return lines


async def test_a_folder_with_one_file(store, runtime, layout):
    log = Log()
    spec = module(layout, {"module.py": HELLO})
    made = await store.ensure(spec, log)
    assert await output(runtime, layout, made) == ["/opt/otter/venv 3 net /work"]
    assert log.has("Step ")
    again = Log()
    assert await store.ensure(spec, again) == made  # nothing is built anew
    assert again == []
    listed = {image.digest: image for image in await store.list()}
    assert listed[made.digest].reference == made.reference
    assert listed[made.digest].size_bytes > 50e6


async def test_own_dockerfile_requirements_and_prepare(store, runtime, layout, tmp_path):
    index = tmp_path / "index"
    make_wheel(index, "otter_test_pkg", body="value = 41")
    make_wheel(index, "otter_test_weights", body="weights = 'w'")
    store._wheelhouse = store._bases._wheelhouse = Found(store._wheelhouse, index)
    files = {
        "module.py": b"import os, otter_test_pkg\n"
        b"print(otter_test_pkg.value, open(os.environ['OTTER_MODELS'] + '/m').read())\n",
        "requirements.txt": b"otter_test_pkg\n",
        "requirements-prepare.txt": b"otter_test_weights==1.0\n",
        "prepare.py": b"import os, otter_test_pkg\n"
        b"wheels = os.listdir(os.environ['OTTER_WHEELS'])\n"
        b"print('preparing with', wheels)\n"
        b"open(os.environ['OTTER_MODELS'] + '/m', 'w').write(wheels[0])\n",
    }
    log = Log()
    made = await store.ensure(module(layout, files), log)
    expected = ["41 otter_test_weights-1.0-py3-none-any.whl"]
    assert await output(runtime, layout, made) == expected
    assert log.has("preparing with")
    # A change of module.py alone doesn't prepare again: the engine's cache has that stage.
    files["module.py"] += b"print('more')\n"
    log = Log()
    changed = {**files, ".dockerignore": b"*\n!module.py\n"}
    changed["Dockerfile"] = (
        b"ARG OTTER_BASE\nFROM ${OTTER_BASE} AS packages\nCOPY .otter/wheels /wheels\n"
        b"RUN python -m pip install --no-index --target /packages /wheels/*.whl\n"
        b"FROM ${OTTER_BASE}\nCOPY --from=packages /packages /packages\nCOPY module.py /\n"
        b"ENV PYTHONPATH=/packages OTTER_MODELS=/\nRUN echo -n own > /m\n"
        b'CMD ["python", "/module.py"]\n'
    )
    own = await store.ensure(module(layout, changed), log)
    assert await output(runtime, layout, own) == ["41 own", "more"]


class Found(Wheelhouse):
    """A wheelhouse whose pip also looks into a folder, as a machine's pip configuration may."""

    def __init__(self, other: Wheelhouse, index) -> None:
        super().__init__(other.folder)
        self.index = index

    async def fetch(self, requirements, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PIP_FIND_LINKS", str(self.index))
            return await super().fetch(requirements, **options)


async def test_same_content_is_built_once(store, layout):
    spec = module(layout, {"module.py": HELLO})
    logs = [Log(), Log(), Log()]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.ensure(spec, log)) for log in logs]
    assert len({task.result().reference for task in tasks}) == 1
    assert sum(log.has("Successfully built") for log in logs) == 1


async def test_a_failing_step_shows_its_last_lines_and_others_are_unharmed(store, layout):
    broken = (
        b"ARG OTTER_BASE\nFROM ${OTTER_BASE}\nRUN echo fine\n"
        b"RUN seq 100 >&2; echo it is broken >&2; exit 3\n"
    )
    bad = module(layout, {"Dockerfile": broken}, name="bad")
    good = module(layout, {"module.py": HELLO}, name="good")
    async with asyncio.TaskGroup() as group:
        failing = group.create_task(_error(store.ensure(bad, Log())))
        fine = group.create_task(store.ensure(good, Log()))
    error = failing.result()
    assert str(error).startswith("bad: docker could not build: Step 4/")
    assert str(error).endswith(" ended with status 3: it is broken")
    assert len(error.tail) <= 20
    assert "it is broken" in error.tail
    assert "fine" not in error.tail
    assert fine.result().digest in {image.digest for image in await store.list()}


async def _error(work) -> ImageError:
    with pytest.raises(ImageError) as caught:
        await work
    return caught.value


async def test_a_package_that_does_not_exist(store, layout):
    files = {"module.py": HELLO, "requirements.txt": b"otter-no-such-package==9\n"}
    error = await _error(store.ensure(module(layout, files), Log()))
    assert error.tail


async def test_upload_is_gone_or_hostile(store, layout):
    spec = module(layout, {"module.py": HELLO})
    (layout.blobs / spec.build.context).unlink()
    error = await _error(store.ensure(spec, Log()))
    assert "not uploaded" in str(error)
    spec = module(layout, {"../../escape": b"x"})
    error = await _error(store.ensure(spec, Log()))
    assert "outside" in str(error)


async def test_unknown_base_and_nothing_to_run(store, layout):
    spec = ModuleSpec(
        name="m", host="h", address="100.64.0.2", runtime="docker",
        build=Build(context="0" * 64, base="pytorch"),
    )  # fmt: skip
    error = await _error(store.ensure(spec, Log()))
    assert "torch" in error.hint
    bare = ModuleSpec(name="m", host="h", address="100.64.0.2", runtime="docker", command=("x",))
    assert (await _error(store.ensure(bare, Log()))).hint


async def test_image_present_and_absent(store, busybox_image, dockerd):
    spec = ModuleSpec(
        name="m", host="h", address="100.64.0.2", runtime="docker", image=busybox_image
    )
    made = await store.ensure(spec, Log())
    assert made.reference == dockerd.request("GET", f"/images/{busybox_image}/json")["Id"]
    absent = ModuleSpec(
        name="m", host="h", address="100.64.0.2", runtime="docker", image="localhost:1/no/such:1"
    )
    log = Log()
    error = await _error(store.ensure(absent, log))
    assert log == ["pulling localhost:1/no/such:1"]
    assert "registry" in error.hint


async def test_prune_keeps_what_is_kept_or_in_use(store, runtime, layout):
    keep, used, drop = [
        await store.ensure(module(layout, {"module.py": HELLO}), Log()) for _ in range(3)
    ]
    work = make_workload(layout, used.reference)
    await runtime.create(work)
    told = await store.prune(frozenset({keep.digest}), dry_run=True)
    assert len(await store.list()) == 3
    pruned = await store.prune(frozenset({keep.digest}))
    assert drop.reference in pruned.removed
    assert used.reference not in told.removed
    assert (told.removed, told.items) == (pruned.removed, pruned.items)
    assert pruned.freed_bytes > 0
    assert told.freed_bytes == pytest.approx(pruned.freed_bytes, rel=0.5, abs=100_000)
    left = {image.digest for image in await store.list()}
    assert {keep.digest, used.digest} <= left
    await runtime.remove(work.key)
    assert used.reference in (await store.prune(frozenset({keep.digest}))).removed
    assert (await store.prune(frozenset())).removed == (keep.reference,)
    assert await store.list() == []  # and the base stays: it is another agent's


async def test_prune_removes_bases_that_nothing_uses(store, layout, docker_url, shared_wheels):
    keeper = DockerImages(docker_url, layout, Wheelhouse(shared_wheels), KEEPER)
    async with aclosing(keeper):
        removed = (await keeper.prune(frozenset())).removed
        assert [tag.partition(":")[0] for tag in removed] == [
            "otter/base-python", "otter/packages-python",
        ]  # fmt: skip
        log = Log()
        made = await keeper.ensure(module(layout, {"module.py": HELLO}), log)
        assert log.has("making the base image")
        kept = await keeper.prune(frozenset({made.digest}))
        assert kept.removed == ()
        await keeper.prune(frozenset())
        await keeper._bases.ensure(find_base("python"), log)


async def test_builds_of_a_killed_agent_are_swept(store, dockerd, layout, busybox_image):
    body = {"Image": busybox_image, "Labels": {"otter.builder": store._agent_id}}
    left = dockerd.request("POST", "/containers/create", body)["Id"]
    await store.ensure(module(layout, {"module.py": HELLO}), Log())
    listed = dockerd.request("GET", "/containers/json?all=1")
    assert left not in {container["Id"] for container in listed}


async def test_no_engine(layout, tmp_path, agent_id):
    url = f"unix://{tmp_path}/absent.sock"
    store = DockerImages(url, layout, Wheelhouse(tmp_path / "wheels"), agent_id)
    error = await _error(store.ensure(module(layout, {"module.py": HELLO}), Log()))
    assert error.recoverable
    await store.aclose()


async def test_the_engines_disk_is_full(store, layout, dockerd: Dockerd):
    fill = (
        b"ARG OTTER_BASE\nFROM ${OTTER_BASE}\n"
        b"RUN echo 'cp: error writing: No space left on device' >&2; exit 1\n"
    )
    error = await _error(store.ensure(module(layout, {"Dockerfile": fill}), Log()))
    assert "disk is full" in str(error)
    assert "image prune" in error.hint
