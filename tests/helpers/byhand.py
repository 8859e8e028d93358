"""Runs shipped modules without an agent: environment from the store, wiring file by hand."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.modules import free_ports

from otter_agent.api import Build, ModuleSpec, StreamEnd, Wiring, encode
from otter_agent.images.environments import EnvironmentStore
from otter_agent.layout import Layout
from otter_agent.runtimes.base import Artifact
from otter_ctl.planning.uploads import context

MODULES = Path(__file__).parents[2] / "modules"


async def environment(root: Path, module: str, base: str = "python") -> Artifact:
    """The environment of a shipped module, made under `root`."""
    layout = Layout.at(root)
    data = context(MODULES / module)
    digest = hashlib.sha256(data).hexdigest()
    layout.blobs.mkdir(parents=True, exist_ok=True)
    (layout.blobs / digest).write_bytes(data)
    spec = ModuleSpec(name=module.replace("_", "-"), host="h", address="127.0.0.1",
                      runtime="process", build=Build(context=digest, base=base))  # fmt: skip
    return await EnvironmentStore(layout).ensure(spec, print)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    return free_ports(1)[0]


class Machine:
    """Modules that run side by side on the loopback interface; used with `with`.

    Args:
        root: Their folders.
        streams: Names, `asr.text>printer.text`.
    """

    def __init__(self, root: Path, streams: Sequence[str] = ()) -> None:
        self.root = root
        self._streams = dict(zip(streams, free_ports(len(streams)), strict=True))
        self._running: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._running.values():
            process.kill()
            process.communicate()

    def start(
        self, name: str, made: Artifact, files: Mapping[str, Path] | None = None, **env: str
    ) -> Path:
        """Start a module; returns its work folder."""
        base = self.root / name
        work, state = base / "work", base / "state"
        work.mkdir(parents=True)
        state.mkdir()
        for target, source in (files or {}).items():
            (work / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, work / target)
        (base / "wiring.json").write_bytes(encode(self._wiring(name)))
        own = {"OTTER_WIRING": base / "wiring.json", "OTTER_STATE": state, "OTTER_WORK": work}
        assert made.argv is not None
        self._running[name] = subprocess.Popen(
            made.argv, env={**made.env, **{k: str(v) for k, v in own.items()}, **env}, cwd=work,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return work

    def end(self, name: str, within_s: float = 60) -> tuple[int, str]:
        """Wait for a module's end; returns its exit status and its output."""
        process = self._running[name]
        output, _ = process.communicate(timeout=within_s)
        return process.returncode, output

    def _wiring(self, name: str) -> Wiring:
        ends: dict[str, list[StreamEnd]] = {"in": [], "out": []}
        for stream, port in self._streams.items():
            source, target = (end.split(".") for end in stream.split(">"))
            for way, (own, port_name), (peer, _) in (
                ("out", source, target), ("in", target, source),
            ):  # fmt: skip
                if own == name:
                    ends[way].append(StreamEnd(stream=stream, port_name=port_name, peer=peer,
                                               address="127.0.0.1", port=port))  # fmt: skip
        return Wiring(mesh="byhand", module=name, host="h", address="127.0.0.1",
                      inputs=tuple(ends["in"]), outputs=tuple(ends["out"]))  # fmt: skip
