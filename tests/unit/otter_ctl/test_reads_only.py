"""`plan` can't change anything: its client sends only what changes nothing. And its exit codes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from otter_agent import api
from otter_ctl.__main__ import run
from otter_ctl.client import AgentClient
from otter_ctl.errors import AgentUnreachable
from otter_ctl.images.calls import ImageCalls

SPEC = api.MeshSpec(name="m", run="r")
Call = Callable[[AgentClient], Awaitable[object]]
CHANGES: dict[str, Call] = {
    "apply": lambda client: client.put_mesh(SPEC, {}),
    "destroy": lambda client: client.destroy("m"),
    "turn": lambda client: client.lease("m", api.Lease(holder="h", who="w", for_s=1.0)),
    "upload": lambda client: client.send(["0" * 64], {"0" * 64: lambda: b""}),
    "order": lambda client: client.order("m", "check", "stop"),
    "shape": lambda client: client.shape("m", []),
    "secrets": lambda client: client.put_secrets("m", {}),
    "images": lambda client: client.prune(),
    "a mesh by the name of what is read": lambda client: client.destroy("check"),
    "probing": lambda client: client.gpus(verify=True),
}
READS: dict[str, Call] = {
    "mesh": lambda client: client.mesh("m"),
    "check": lambda client: client.check_mesh(SPEC),
    "secrets": lambda client: client.check_secrets("m", {}),
    "images": lambda client: ImageCalls(client, "m1").look([]),
    "knock": lambda client: client.knock(api.Knocking(local="10.0.0.1", key="ab" * 16, ports=(1,))),
    "reach": lambda client: client.reach("10.0.0.1", "10.0.0.2", 1500),
}


class Dialled:
    """A way to an agent that gives no answer; counts who tried."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self) -> None:
        self.times += 1
        raise OSError("nobody there")


@pytest.mark.parametrize("name", CHANGES)
async def test_what_changes_something_is_not_sent(name: str) -> None:
    way = Dialled()
    async with AgentClient(Path("none.sock"), "m1", way, reads_only=True) as client:  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="is to change nothing"):
            await CHANGES[name](client)
    assert way.times == 0


async def test_nor_is_anything_done_in_modules() -> None:
    way = Dialled()
    async with AgentClient(Path("none.sock"), "m1", way, reads_only=True) as client:  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="is to change nothing"):
            async with client.exec("m", "asr", api.ExecRequest(argv=("true",))):
                pass
    assert way.times == 0


@pytest.mark.parametrize("name", READS)
async def test_what_changes_nothing_is(name: str) -> None:
    way = Dialled()
    async with AgentClient(Path("none.sock"), "m1", way, reads_only=True) as client:  # type: ignore[arg-type]
        with pytest.raises(AgentUnreachable):
            await READS[name](client)
    assert way.times == 1


@pytest.mark.parametrize("wrong", [["--typo"], [], ["a.toml", "b.toml"]])
def test_wrong_usage_is_no_change(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With `--detailed-exitcode` 2 says that something would change, and nothing else does."""
    assert run(["plan", *wrong]) == 2
    assert run(["plan", "--detailed-exitcode", *wrong]) == 1
    assert "Usage: otterctl plan" in capsys.readouterr().err


def test_a_bad_topology_is_no_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("name = 3\n")
    assert run(["plan", str(file)]) == 2
    assert run(["plan", str(file), "--detailed-exitcode"]) == 1
    assert "bad.toml:1" in capsys.readouterr().err
