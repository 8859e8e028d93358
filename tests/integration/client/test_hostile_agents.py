"""An agent that answers with whatever it likes: no verb lets the terminal obey it, or falls over.

Every text of every answer, names among them, holds what terminals obey; numbers are as large as
their types let them be.
"""

from __future__ import annotations

import gc
import http.server
import re
import shutil
import socketserver
import tempfile
import threading
import typing
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from otter_agent import api
from otter_ctl.__main__ import run

ORDERS = "x\x1b]0;owned\x07\x9b2J\r\n\u202e<b>"
WORD = "owned"
SHOWN = re.compile(r"x(\\x1b|\\u001b|\ufffd)\]0(;|#59;)owned(\\x07|\\u0007|\ufffd)")
"""How that is to be seen: with escapes, JSON's where it is JSON and Mermaid's in a graph of its; in
logs with signs for what can't be seen, as columns are to stay."""
LARGE = 1 << 53
PREFERRED = ("failed", "running", "link", "process", "delay")
"""Of words that a type allows: those by which verbs have the most to say."""


def made_up(kind: typing.Any, number: float) -> typing.Any:
    """A value of a type; its texts are orders."""
    return _made_up(inspect.type_info(kind), number)


def _made_up(info: inspect.Type, number: float) -> typing.Any:
    match info:
        case inspect.StrType():
            return ORDERS
        case inspect.BoolType():
            return True
        case inspect.IntType(ge=least, le=most):
            return max(least or 0, min(int(number), LARGE if most is None else most))
        case inspect.FloatType(ge=least, le=most):
            return max(least or 0.0, min(float(number), number if most is None else most))
        case inspect.LiteralType(values=values):
            return next((word for word in PREFERRED if word in values), values[0])
        case inspect.UnionType(types=types):
            said = (t for t in types if not isinstance(t, inspect.NoneType | inspect.DataclassType))
            return _made_up(next(said, inspect.NoneType()), number)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            found = [_made_up(item, number)]
            return tuple(found) if isinstance(info, inspect.VarTupleType) else found
        case inspect.TupleType(item_types=items):
            return tuple(_made_up(item, number) for item in items)
        case inspect.DictType(key_type=key, value_type=value):
            return {_made_up(key, number): _made_up(value, number)}
        case inspect.StructType(cls=cls, fields=fields):
            return cls(**{field.name: _made_up(field.type, number) for field in fields})
        case inspect.AnyType() | inspect.NoneType():
            return None
    raise AssertionError(info)


LINES = {
    r"events": api.Event, r".*/logs": api.LogLine, r".*/messages": api.RecordLine,
    r"meshes/.*/verify": api.VerifyLine,
}  # fmt: skip
ANSWERS = {
    r"info": api.Info, r"meshes": list[api.MeshSummary], r"meshes/[^/]*": api.MeshStatus,
    r".*/modules": list[api.ModuleStatus], r".*/links": list[api.LinkStatus],
    r".*/budgets": list[api.BudgetStatus], r".*/usage": list[api.Usage],
    r".*/timeline(/.*)?": api.TimelineStatus, r"gpus(/verify)?": api.GpuState,
    r"images": list[api.ImageInfo], r"images/prune": api.Pruned,
    r"volumes": list[api.VolumeInfo], r"cache": list[api.CacheItem],
    r"cache/remove": api.Pruned, r".*/(stop|start|restart)": api.ModuleStatus,
    r".*/stat": api.PathInfo, r".*/lease": api.Lease, r".*/check": list[api.Problem],
}  # fmt: skip


TOPOLOGY = """
name = "m"
[hosts.h]
[modules.a]
host = "h"
runtime = "fake"
command = ["true"]
"""


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers each request with its type; what it doesn't know it refuses."""

    protocol_version = "HTTP/1.1"
    number = 3.0

    def _hear_out(self) -> None:
        """All of the body: who is still sending when a server goes may never read its answer."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline() or b"0", 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _tell(self) -> None:
        self._hear_out()
        path = self.path.partition("?")[0].removeprefix("/v1/")
        status = 200
        for pattern, kind in {**LINES, **ANSWERS}.items():
            if re.fullmatch(pattern, path):
                told = made_up(kind, self.number)
                break
        else:
            status, told = 409, made_up(api.Problem, self.number)
        if isinstance(told, api.Info):
            told = msgspec.structs.replace(told, api_version=api.API_VERSION)
        if isinstance(told, api.VerifyLine):
            told = msgspec.structs.replace(told, problem=None)
        data = api.encode(told) + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _tell  # noqa: N815

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, *args: object) -> None:
        """Says nothing."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Ends with all that it has begun."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asks may hang up."""


@pytest.fixture(scope="module")
def root():
    """Of the agent that lies."""
    folder = Path(tempfile.mkdtemp(prefix="otter-liar-"))  # tmp_path is too long for a socket
    (folder / "run").mkdir()
    with Server(str(folder / "run" / "agent.sock"), Liar) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()
    shutil.rmtree(folder)


@pytest.fixture
def otterctl(root, tmp_path, monkeypatch, capfd, caplog):
    """Runs a verb; returns its exit status and all that it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OTTER_SITE", raising=False)
    monkeypatch.setenv("COLUMNS", "1000")  # so that no table cuts a word off
    (tmp_path / "file").write_text("content")
    (tmp_path / "topology.toml").write_text(TOPOLOGY)

    def call(*words):
        code = run(["--root", str(root), *words])
        told = capfd.readouterr()
        if words[0] == "cp":
            gc.collect()  # what nobody asked a future for is told when that goes
        assert not caplog.text  # it would be on stderr
        return code, told.out + told.err

    return call


SAID = (
    "ls", "status", "top --once --every 0.2", "events", "logs", "logs -t", "timeline show",
    "timeline pause", "shape show", "shape link --delay 1ms", "shape host --cpu 1",
    "shape module --memory 1GiB", "shape reset", "gpu ls", "gpu verify", "image ls", "image prune",
    "cache ls", "cache rm --unused", "volume ls", "volume rm x", "verify", "trace x", "fetch",
    "destroy --yes", "destroy --all --yes", "stop --all --no-wait", "stop --all", "restart x",
    "wait --all --state ready", "forward m 80", "exec m -- true", "cp m:x file2", "cp m:x -",
    "cp file m:x", "capture l --packets 1",
    "plan topology.toml --explain", "apply topology.toml", "graph -m m --format mermaid",
)  # fmt: skip


COUNTED = (
    "status", "events", "logs -t", "timeline show", "shape show", "gpu ls", "image ls", "verify",
    "top --once --every 0.2", "plan topology.toml --explain",
)  # fmt: skip
CASES = [*((words, 3.0) for words in SAID), *((words, 1e300) for words in COUNTED)]


@pytest.mark.parametrize(("words", "number"), CASES)
def test_what_an_agent_says_is_text(otterctl, monkeypatch, words, number):
    monkeypatch.setattr(Liar, "number", number)
    code, told = otterctl(*words.split())
    assert code in (0, 1, 2), told
    assert "internal error" not in told, told
    assert "Traceback" not in told, told
    seen = told.replace("\n", "")
    assert seen.isprintable(), repr(told)
    shown = SHOWN.findall(told)
    assert len(shown) == told.count(WORD) > 0, told  # all of it is seen, and there is some
