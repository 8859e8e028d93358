"""Machines of a lab reach package indexes through this computer, and nothing else beyond it."""

from __future__ import annotations

import socket
import threading

import pytest
from helpers import labs
from helpers.labs import ssh

ASK = (
    "import os, socket, sys; at = os.environ['https_proxy'].removeprefix('http://').split(':');"
    " proxy = socket.create_connection((at[0], int(at[1])), 10);"
    " proxy.sendall(f'CONNECT {sys.argv[1]} HTTP/1.1\\r\\n\\r\\n'.encode());"
    " answer = proxy.makefile(); print(answer.readline().strip());"
    " proxy.sendall(b'hello'); proxy.shutdown(1); print(answer.read().strip())"
)
pytestmark = pytest.mark.netns


def test_an_index_is_reached_and_nothing_else(lab, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as index, socket.create_server(("", 0)) as other:
        port = index.getsockname()[1]
        monkeypatch.setenv("PIP_INDEX_URL", f"https://127.0.0.1:{port}/simple")
        threading.Thread(target=echo, args=(index,), daemon=True).start()
        lab.up(1, docker=False, bare=True, layers=labs.layers())
        said = ssh(lab, "lab1", f'/usr/bin/python3 -c "{ASK}" 127.0.0.1:{port}')
        assert said.split() == ["HTTP/1.1", "200", "Connected", "HELLO"]
        closed = f"127.0.0.1:{other.getsockname()[1]}"
        assert "403" in ssh(lab, "lab1", f'/usr/bin/python3 -c "{ASK}" {closed} 2>&1; true')
        assert ssh(lab, "lab1", "printenv PIP_INDEX_URL").endswith(f":{port}/simple")


def echo(server):
    """Says once in capitals what it is told."""
    connection, _ = server.accept()
    with connection:
        connection.sendall(connection.recv(100).upper())
