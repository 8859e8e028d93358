"""A stand-in for the model hub on the loopback interface, with faults on demand.

It answers as the hub does (huggingface.co/docs/hub/api), us and its own client: the list of a
model's files with their digests, and each file, whole or from some byte on. Must not know: OTTER.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"


def model(size: int = 300_000) -> dict[str, bytes]:
    """Files of one: small ones, a large one, and some that nobody needs."""
    weights = hashlib.shake_256(b"weights").digest(size)
    return {
        "config.json": b'{"model_type": "tiny"}',
        "onnx/config.json": b"{}",
        "model.safetensors": weights,
        "pytorch_model.bin": b"a pickle",
        "README.md": b"# Tiny",
    }


class StandInHub:
    """A hub with one model. Used with `with`.

    Args:
        files: Its files.
        name: The model's.

    Attributes:
        dropped: Path -> how many requests of it are hung up on, without an answer.
        cuts: File -> after how many bytes the next answer of it is cut; each once.
        damage: Files that are sent with another content than the list says.
        token: What one has to have; "": nothing.
        asked: Path of each request, with where it begins.
    """

    def __init__(self, files: dict[str, bytes] | None = None, name: str = "someone/tiny") -> None:
        self.files = model() if files is None else files
        self.name = name
        self.dropped: Counter[str] = Counter()
        self.cuts: dict[str, list[int]] = {}
        self.damage: set[str] = set()
        self.token = ""
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.answer(self)

            def log_message(self, *_: object) -> None:
                """Tests look at `asked`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT would hold."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> StandInHub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        path = unquote(urlsplit(request.path).path)
        start = int((request.headers.get("Range") or "bytes=0-")[6:-1])
        self.asked.append(f"{path} {start}")
        if self.dropped[path]:
            self.dropped[path] -= 1
            request.close_connection = True
        elif self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            _send(request, 401, b"{}")
        elif path in (f"/api/models/{self.name}", f"/api/models/{self.name}/revision/main"):
            _send(request, 200, json.dumps(self.listing()).encode())
        elif path == f"/api/models/{self.name}/tree/{COMMIT}":
            _send(request, 200, json.dumps([_entry(*one) for one in self.files.items()]).encode())
        elif path.startswith(f"/{self.name}/resolve/{COMMIT}/"):
            self._file(request, path.split("/", 5)[5], start)
        else:
            _send(request, 404, b"{}")

    def listing(self) -> dict[str, object]:
        """As the hub gives it with `blobs=true`."""
        return {
            "id": self.name,
            "sha": COMMIT,
            "siblings": [_sibling(*item) for item in self.files.items()],
        }

    def _file(self, request: BaseHTTPRequestHandler, name: str, start: int) -> None:
        data = self.files[name]
        if name in self.damage:
            data = data[:-1] + bytes([data[-1] ^ 1])
        cuts = self.cuts.get(name)
        cut = cuts.pop(0) if cuts else None
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
        _send(request, 206 if start else 200, data[start:], cut, headers)


def _entry(name: str, data: bytes) -> dict[str, object]:
    """As the hub's client is told of it."""
    return {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}


def _sibling(name: str, data: bytes) -> dict[str, object]:
    header = f"blob {len(data)}\0".encode()
    found: dict[str, object] = {
        "rfilename": name, "size": len(data), "blobId": hashlib.sha1(header + data).hexdigest(),
    }  # fmt: skip
    if len(data) > 10_000:  # kept as a large file: its blob is a pointer
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 131}
        found |= {"lfs": lfs, "blobId": "0" * 40}
    return found


def _send(
    request: BaseHTTPRequestHandler, status: int, body: bytes, cut: int | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> None:  # fmt: skip
    request.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body[:cut])
    request.close_connection = True
