"""The arbiter beside modules that mean no good."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from otter_agent import api
from otter_agent.leasing.arbiter import THINGS, Arbiter
from otter_agent.leasing.client import Leases
from otter_agent.leasing.words import Member, Told


class Agent:
    """An arbiter that serves in a thread, and what its agent and its members say."""

    def __init__(self, folder):
        self.folder = folder
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._control.bind(str(folder / "turns.s"))
        self._control.listen()
        self._arbiter = Arbiter(self._control)
        self._thread = threading.Thread(target=self._serve)

    def _serve(self):
        while not self._arbiter.ended:
            self._arbiter.serve(10.0)
        self._arbiter.close()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.tell(end=True)
        self._thread.join()
        self._control.close()

    def tell(self, *names, end=False):
        members = tuple(
            Member(name=n, socket=str(self.folder / f"{n}.sock"), weight=0.5) for n in names
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(10)
            link.connect(str(self.folder / "turns.s"))
            link.sendall(api.encode(Told(members=members, end=end)) + b"\n")
            with link.makefile("rb") as answer:
                return answer.readline()

    @contextlib.contextmanager
    def asking(self, name, thing):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
            link.settimeout(10)
            link.connect(str(self.folder / f"{name}.sock"))
            link.send(b"a " + thing.encode())
            yield link.recv(8)


@pytest.fixture
def arbiter(tmp_path):
    with Agent(tmp_path) as made:
        yield made


def test_a_module_that_names_ever_more_things_takes_no_names_from_others(arbiter):
    arbiter.tell("greedy", "modest")
    for number in range(THINGS):
        with arbiter.asking("greedy", f"thing {number}") as answer:
            assert answer == b"g"
    with arbiter.asking("greedy", "one more") as answer:
        assert answer == b""
    with arbiter.asking("modest", "gpu") as answer:
        assert answer == b"g"


def test_a_module_that_spoils_its_folder_keeps_no_other_from_starting(tmp_path):
    leases = Leases(tmp_path / "turns.s")
    one, spoilt, other = (
        Member(name=f"m/{name}", socket=str(tmp_path / name), weight=0.5) for name in "abc"
    )
    (tmp_path / "b").mkdir()
    try:
        leases.put(one)
        with pytest.raises(OSError, match=r"^no turns for m/b: "):
            leases.put(spoilt)
        leases.put(other)
        with pytest.raises(OSError, match="m/b"):
            leases.keep({m.name: m for m in (one, spoilt, other)})
        assert leases.keep({one.name: one}) == ()
    finally:
        leases.keep({})
