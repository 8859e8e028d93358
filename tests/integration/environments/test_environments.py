"""Environments for process modules: real virtual environments, a real pip, tiny packages."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from helpers.folders import can_mount, gone, signalled, small_disk, tree, write_tree
from helpers.wheels import make_wheel

from otter_agent.api import Build, ModuleSpec
from otter_agent.errors import ImageError
from otter_agent.images.bases import Base
from otter_agent.images.environments import EnvironmentStore
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Artifact
from otter_ctl.planning.uploads import context

pytestmark = pytest.mark.untimed
BASE = Base("python", ("otterbase==1.0",), root="", python="3.11")
MAIN = """
import json, os, pathlib, sys
import net, otterbase
try:
    import otterone
except ImportError:
    otterone = None
models = pathlib.Path(os.environ["OTTER_MODELS"])
print(json.dumps({
    "net": net.__file__,
    "base": otterbase.version,
    "one": otterone and otterone.version,
    "models": sorted(f.name for f in models.iterdir()),
    "pip": any("pip" in name for name in sys.modules),
}))
"""
PREPARE = """
import os, pathlib, otterbase
wheels = sorted(f.name for f in pathlib.Path(os.environ["OTTER_WHEELS"]).iterdir())
pathlib.Path(os.environ["OTTER_MODELS"], "weights").write_text(str(wheels))
assert not pathlib.Path("module.py").exists()
pathlib.Path(os.environ["HOME"], ".cache").mkdir()
print("prepared")
"""


class Bench:
    """A store, and modules to make environments for."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout.at(root)
        self.folders = root.parent / "folders"
        self.log: list[str] = []
        self.store = EnvironmentStore(self.layout, base=lambda *_: BASE)

    def module(self, files: Mapping[str, str], name: str = "m") -> ModuleSpec:
        number = hashlib.sha256(repr(files).encode()).hexdigest()[:8]
        data = context(write_tree(self.folders / number, files))
        digest = hashlib.sha256(data).hexdigest()
        self.layout.blobs.mkdir(parents=True, exist_ok=True)
        (self.layout.blobs / digest).write_bytes(data)
        return spec(name, build=Build(context=digest))

    async def ensure(self, files: Mapping[str, str]) -> Artifact:
        self.log.clear()
        return await self.store.ensure(self.module(files), self.log.append)

    def whole(self, kind: str) -> set[str]:
        return {f.parent.name for f in (self.layout.environments / kind).glob("*/otter.json")}

    def there(self, kind: str) -> set[str]:
        folder = self.layout.environments / kind
        return {f.name for f in folder.iterdir()} if folder.is_dir() else set()


def spec(name: str, **fields: object) -> ModuleSpec:
    return ModuleSpec(name=name, host="h", address="100.64.0.2", runtime="process", **fields)  # type: ignore[arg-type]


def run(made: Artifact) -> dict[str, object]:
    import json

    assert made.argv is not None
    done = subprocess.run(
        made.argv, env=made.env, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.fixture
def bench(tmp_path: Path, index: Path) -> Bench:
    make_wheel(index, "otterbase")
    make_wheel(index, "otterone", requires=["otterbase"])
    make_wheel(index, "ottermodel", requires=["otternone"])
    return Bench(tmp_path / "root")


async def test_a_module_finds_its_packages_the_bases_and_net(bench: Bench) -> None:
    made = await bench.ensure({"module.py": MAIN, "requirements.txt": "otterone  # one\n"})
    found = run(made)
    assert (found["base"], found["one"]) == ("1.0", "1.0")
    assert str(found["net"]).startswith(str(bench.layout.environments / "net"))
    assert found["models"] == []
    assert made.reference == made.readonly[0]
    assert all(Path(folder).is_dir() for folder in made.readonly)
    assert made.env["PATH"].startswith(f"{made.reference}/venv/bin:")
    # The layer has only what the base lacks.
    layer = bench.layout.environments / "layer" / next(iter(bench.whole("layer")))
    assert not list(layer.rglob("otterbase*"))


async def test_what_is_there_is_found_without_doing_anything(bench: Bench, index: Path) -> None:
    first = await bench.ensure({"module.py": MAIN})
    for wheel in index.iterdir():
        wheel.unlink()
    assert await bench.ensure({"module.py": MAIN}) == first
    assert bench.log == []
    # A changed module on the same base needs no package again either.
    other = await bench.ensure({"module.py": MAIN + "# changed"})
    assert other.digest != first.digest
    assert not any("otterbase" in line for line in bench.log)
    assert len(bench.whole("base")) == 1


async def test_a_link_to_another_disk_is_followed(bench: Bench, tmp_path: Path) -> None:
    """What is made there is found there, whichever link led to it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    bench.layout.lib.mkdir(parents=True)
    bench.layout.environments.symlink_to(disk)
    files = {"module.py": MAIN, "requirements.txt": "otterone"}
    made = await Bench(tmp_path / "root").ensure(files)
    bench.layout.environments.unlink()
    assert run(made)["one"] == "1.0"
    other = Bench(tmp_path / "other")
    other.layout.lib.mkdir(parents=True)
    other.layout.environments.symlink_to(disk)
    found = Bench(tmp_path / "other")
    assert await found.ensure(files) == made
    assert found.log == []


async def test_concurrent_calls_make_it_once(bench: Bench) -> None:
    module = bench.module({"module.py": MAIN, "requirements.txt": "otterone"})
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                EnvironmentStore(bench.layout, base=lambda *_: BASE).ensure(
                    module, bench.log.append
                )
            )
            for _ in range(12)
        ]
    assert len({task.result().digest for task in tasks}) == 1
    assert sum("is ready after" in line for line in bench.log) == 1
    assert run(tasks[0].result())["one"] == "1.0"


async def test_commands_alone_need_nothing_and_images_are_refused(bench: Bench) -> None:
    made = await bench.store.ensure(spec("m", command=("sleep", "1")), print)
    assert made == Artifact("", None)
    with pytest.raises(ImageError, match="needs a container engine"):
        await bench.store.ensure(spec("m", image="x:1"), print)


async def test_a_folder_without_module_py_needs_a_command(bench: Bench) -> None:
    module = bench.module({"tool.py": "print(1)"})
    with pytest.raises(ImageError, match=r"no module\.py"):
        await bench.store.ensure(module, print)
    with_command = ModuleSpec(
        **{f: getattr(module, f) for f in module.__struct_fields__ if f != "command"},
        command=("python3", "x"),
    )
    assert (await bench.store.ensure(with_command, print)).argv is None


async def test_models_are_prepared_once(bench: Bench) -> None:
    files = {
        "module.py": MAIN, "prepare.py": PREPARE, "requirements-prepare.txt": "ottermodel\n",
    }  # fmt: skip
    made = await bench.ensure(files)
    assert "prepared" in bench.log
    assert run(made)["models"] == ["weights"]
    weights = Path(made.env["OTTER_MODELS"], "weights").read_text()
    assert weights == "['ottermodel-1.0-py3-none-any.whl']"
    models = bench.layout.environments / "models" / next(iter(bench.whole("models")))
    assert tree(models) == {"otter.json", "data", "data/weights"}

    again = await bench.ensure({**files, "module.py": MAIN + "# changed"})
    assert "prepared" not in bench.log
    assert again.env["OTTER_MODELS"] == made.env["OTTER_MODELS"]
    await bench.ensure({**files, "prepare.py": PREPARE + "# changed"})
    assert "prepared" in bench.log


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"requirements.txt": "otternone"}, "No matching distribution found for otternone"),
        ({"prepare.py": "raise ValueError('no weights')"}, "ValueError: no weights"),
        ({"prepare.py": "import os; os.kill(os.getpid(), 11)"}, "killed by signal 11"),
        ({"prepare.py": "import sys; sys.exit('nothing there')"}, "ended with 1: nothing there"),
    ],
    ids=str,
)
async def test_a_failing_step_says_why_and_leaves_nothing(
    bench: Bench, files: dict[str, str], why: str
) -> None:
    with pytest.raises(ImageError, match=why) as caught:
        await bench.ensure({"module.py": MAIN, **files})
    assert list(caught.value.tail) == bench.log[len(bench.log) - len(caught.value.tail) :]
    for kind in ("env", "layer", "models"):
        assert bench.there(kind) == set()
    assert run(await bench.ensure({"module.py": MAIN}))["base"] == "1.0"


async def test_hostile_or_missing_uploads_are_refused(bench: Bench) -> None:
    with pytest.raises(ImageError, match="was not uploaded"):
        await bench.store.ensure(spec("m", build=Build(context="0" * 64)), print)
    module = bench.module({"module.py": MAIN})
    assert module.build is not None
    (bench.layout.blobs / module.build.context).write_bytes(b"no tar")
    with pytest.raises(ImageError, match="unpack its folder: not a tar"):
        await bench.store.ensure(module, print)
    assert bench.there("env") == set()


async def test_cancelling_ends_the_step(bench: Bench, tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    files = {"module.py": MAIN, "prepare.py": waiting(started)}
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bench.ensure(files))
        pid = int(await signalled(started))
        task.cancel()
    assert task.cancelled()
    await gone(pid)
    assert bench.there("env") == bench.there("models") == set()


def waiting(started: Path) -> str:
    """A prepare.py that says its pid and then never ends."""
    return f"import os, signal\nopen({str(started)!r}, 'w').write(str(os.getpid()))\nsignal.pause()"


ENSURE = """
import asyncio, sys
from otter_agent.api import Build, ModuleSpec
from otter_agent.images.bases import Base
from otter_agent.images.environments import EnvironmentStore
from otter_agent.layout import Layout
base = Base("python", ("otterbase==1.0",), root="", python="3.11")
store = EnvironmentStore(Layout.at(sys.argv[1]), base=lambda *_: base)
module = ModuleSpec(name="m", host="h", address="100.64.0.2", runtime="process",
                    build=Build(context=sys.argv[2]))
asyncio.run(store.ensure(module, lambda line: None))
"""


async def test_killed_in_the_middle_it_starts_anew(bench: Bench, tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    # Waits the first time only: the same content is made twice.
    prepare = f"import os\nif not os.path.exists({str(tmp_path / 'twice')!r}):\n" + "".join(
        f"    {line}\n" for line in waiting(started).splitlines()
    )
    files = {"module.py": MAIN, "prepare.py": prepare}
    module = bench.module(files)
    assert module.build is not None
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ENSURE, str(tmp_path / "root"), module.build.context
    )
    try:
        pid = int(await signalled(started))
    finally:
        agent.send_signal(signal.SIGKILL)
        await agent.wait()
    assert bench.there("env")
    assert bench.whole("env") == set()
    (tmp_path / "twice").touch()
    async with asyncio.timeout(60):
        made = await bench.ensure(files)
    assert run(made)["models"] == []
    await gone(pid)
    assert "work" not in {path.name for path in bench.layout.environments.rglob("*")}


@pytest.mark.parametrize("damage", ["facts", "half", "layer"])
async def test_damage_is_repaired(bench: Bench, damage: str) -> None:
    files = {"module.py": MAIN, "requirements.txt": "otterone"}
    made = await bench.ensure(files)
    layer = bench.layout.environments / "layer" / next(iter(bench.whole("layer")))
    wreck: dict[str, Callable[[], object]] = {
        "facts": lambda: Path(made.reference, "otter.json").write_text("{"),
        "half": lambda: [f.unlink() for f in Path(made.reference).glob("*.json")],
        "layer": (layer / "otter.json").unlink,
    }
    wreck[damage]()
    assert await bench.ensure(files) == made
    assert run(made)["one"] == "1.0"


async def test_list_and_prune(bench: Bench) -> None:
    kept = await bench.ensure({"module.py": MAIN, "requirements.txt": "otterone"})
    gone = await bench.ensure({"module.py": MAIN, "prepare.py": PREPARE})
    listed = {image.reference: image for image in await bench.store.list()}
    assert listed.keys() == {kept.reference, gone.reference}
    assert all(image.kind == "environment" for image in listed.values())
    assert listed[kept.reference].digest == kept.digest
    assert all(image.size_bytes > 4096 for image in listed.values())

    told = await bench.store.prune(frozenset({kept.digest}), dry_run=True)
    assert len(await bench.store.list()) == 2
    pruned = await bench.store.prune(frozenset({kept.digest}))
    assert (told.removed, told.items) == (pruned.removed, pruned.items)
    assert told.freed_bytes == pruned.freed_bytes
    assert {item.kind for item in pruned.items} == {"env", "models"}
    assert gone.reference in pruned.removed
    assert pruned.freed_bytes > 4096
    assert [image.reference for image in await bench.store.list()] == [kept.reference]
    assert bench.there("models") == set()
    assert run(kept)["one"] == "1.0"

    await bench.store.prune(frozenset())
    assert {
        kind for kind in ("env", "layer", "base", "net", "models") if bench.there(kind)
    } == set()
    assert run(await bench.ensure({"module.py": MAIN}))["base"] == "1.0"


async def test_a_full_disk_is_recognised(
    bench: Bench, tmp_path: Path, require: Callable[[str, bool, str], None]
) -> None:
    require("netns", can_mount(), "mounting needs root")
    fill = "open(__import__('os').environ['OTTER_MODELS'] + '/w', 'wb').write(bytes(64 << 20))"
    with small_disk(tmp_path / "small", 11) as disk:  # 3 for the packages, 5 for the upload
        small = Bench(disk / "root")
        small.folders = tmp_path / "folders"
        with pytest.raises(ImageError, match=r"disk is full.*image prune"):
            await small.ensure({"module.py": MAIN, "prepare.py": fill})
        with pytest.raises(ImageError, match=r"disk that holds .* is full.*image prune"):
            await small.ensure({"module.py": MAIN, "data.bin": "x" * (5 << 20)})
        assert run(await small.ensure({"module.py": MAIN}))["base"] == "1.0"
