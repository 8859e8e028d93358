"""Who is asked by SSH, and who isn't: a machine's name may be somebody else's there."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from otter_ctl.__main__ import run

SITES = {
    "docker": ('docker = "otter-agent"', "by docker exec, in container otter-agent, not by SSH"),
    "direct": ('direct = true\nsocket = "/run/a.sock"', "by its socket, /run/a.sock, not by SSH"),
}


@pytest.fixture
def dialled(tmp_path: Path) -> socket.socket:
    """Who takes SSH connections under the same name; it accepts none by itself."""
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    port = server.getsockname()[1]
    (tmp_path / "config").write_text(f"Host box\n  HostName 127.0.0.1\n  Port {port}\n")
    return server


@pytest.mark.parametrize("way", SITES)
@pytest.mark.parametrize(
    "words",
    [("rm", "--force", "--yes"), ("rm", "--dry-run"), ("upgrade", "--yes"), ("check",), ("add",)],
    ids=" ".join,
)
def test_one_that_is_reached_in_another_way_is_not_dialled(
    way: str,
    words: tuple[str, ...],
    dialled: socket.socket,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, why = SITES[way]
    site = tmp_path / "site.toml"
    site.write_text(f'[machines.box]\n{lines}\nssh_config = "{tmp_path / "config"}"\n')
    verb, *options = words
    assert run(["machine", verb, "box", *options, "--site", str(site)]) == 1
    assert f"box: it is reached {why}" in capsys.readouterr().err
    with dialled, pytest.raises(BlockingIOError):
        dialled.accept()
    assert "[machines.box]" in site.read_text()


def test_its_socket_alone_is_asked_whether_it_answers(
    dialled: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site.toml"
    lines = f'direct = true\nsocket = "{tmp_path}/none"\nssh_config = "{tmp_path / "config"}"\n'
    site.write_text(f"[machines.box]\n{lines}")
    assert run(["machine", "ls", "--json", "--site", str(site)]) == 0
    [line] = json.loads(capsys.readouterr().out)
    assert (line["reachable"], line["why"].startswith("no agent answers at")) == (False, True)
    with dialled, pytest.raises(BlockingIOError):
        dialled.accept()


def test_it_can_be_forgotten(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[machines.box]\ndocker = "otter-agent"\n')
    assert run(["machine", "rm", "box", "--forget", "--site", str(site)]) == 0
    assert "box" not in site.read_text()
