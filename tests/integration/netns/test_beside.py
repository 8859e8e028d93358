"""Whoever listens where a process of ours was: only one of our own user is spoken to."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from otter_agent import beside

pytestmark = pytest.mark.netns

NOBODY = 65534
STRANGER = """
import os, socket, sys
folder, name = os.path.split(sys.argv[1])
os.chdir(folder)
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
listener = socket.socket(socket.AF_UNIX)
listener.bind(name)
listener.listen()
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("user", "spoken_to"), [(0, True), (NOBODY, False)])
def test_a_socket_of_another_user_is_not_spoken_to(tmp_path: Path, user: int, spoken_to: bool):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    path = folder / "links.s"
    command = [sys.executable, "-c", STRANGER, str(path), str(user)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"listening\n"
        found = beside.connected(path)
        assert isinstance(found, socket.socket) == spoken_to
        if found is not None:
            found.close()
        assert stranger.stdin is not None
        stranger.stdin.close()
