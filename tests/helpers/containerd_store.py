"""What an engine with containerd's image store answers, as far as images are sent and taken.

Source: Docker Engine API 1.44 and moby's daemon/containerd: an image's id is its manifest's digest,
layers are kept compressed, an archive has to hold all layers. Such an engine (24 and newer) can't
be had on every machine. Must not know: OTTER.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class ContainerdStore:
    """Images of such an engine.

    Attributes:
        loaded: Names of the files in each archive that was loaded.
    """

    def __init__(self, compress=gzip.compress) -> None:
        self.images: dict[str, tuple[bytes, list[bytes]]] = {}
        self.loaded: list[list[str]] = []
        self._compress = compress

    def add(self, name: str, layers: list[bytes], **config: Any) -> None:
        """An image of these tars."""
        diff_ids = [sha256(layer) for layer in layers]
        facts = {"architecture": ARCH, "os": "linux", "config": config,
                 "rootfs": {"type": "layers", "diff_ids": diff_ids}}  # fmt: skip
        self.images[name] = json.dumps(facts).encode(), layers

    @asynccontextmanager
    async def serving(self, socket: Path) -> AsyncIterator[str]:
        """At a Unix socket, whose URL this gives."""
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.get("/info", self._info),
                web.get("/images/json", self._list),
                web.get("/images/{name:.*}/json", self._inspect),
                web.get("/images/{name:.*}/get", self._save),
                web.post("/images/load", self._load),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.UnixSite(runner, str(socket)).start()
            yield f"unix://{socket}"
        finally:
            await runner.cleanup()

    async def _info(self, request: web.Request) -> web.Response:
        status = [["driver-type", "io.containerd.snapshotter.v1"]]
        return web.json_response({"Driver": "overlayfs", "DriverStatus": status})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response([{"Id": self._id(n), "RepoTags": [n]} for n in self.images])

    def _id(self, name: str) -> str:
        return sha256(b"the manifest of " + self.images[name][0])

    async def _inspect(self, request: web.Request) -> web.Response:
        asked = request.match_info["name"]
        name = next((n for n in self.images if asked in (n, self._id(n))), None)
        if name is None:
            return web.json_response({"message": f"No such image: {asked}"}, status=404)
        config = json.loads(self.images[name][0])
        return web.json_response(
            {"Id": self._id(name), "Architecture": config["architecture"], "Size": 1,
             "Config": config["config"], "RootFS": {"Layers": config["rootfs"]["diff_ids"]}}
        )  # fmt: skip

    async def _save(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        config, layers = self.images[name]
        blobs = [self._compress(layer) for layer in layers]
        paths = [f"blobs/sha256/{sha256(blob)[7:]}" for blob in blobs]
        where = f"blobs/sha256/{sha256(config)[7:]}"
        image = [{"Config": where, "RepoTags": [name], "Layers": paths}]
        files = {**dict(zip(paths, blobs, strict=True)), where: config}
        return web.Response(body=_tar({**files, "manifest.json": json.dumps(image).encode()}))

    async def _load(self, request: web.Request) -> web.Response:
        with tarfile.open(fileobj=io.BytesIO(await request.read())) as archive:
            files = {name: archive.extractfile(name).read() for name in archive.getnames()}
        self.loaded.append(sorted(files))
        (image,) = json.loads(files["manifest.json"])
        missing = [name for name in image["Layers"] if name not in files]
        if missing:
            return web.json_response({"error": f"content {missing[0]}: not found"})
        self.images[image["RepoTags"][0]] = (
            files[image["Config"]],
            [files[name] for name in image["Layers"]],
        )
        return web.json_response({"stream": f"Loaded image: {image['RepoTags'][0]}"})


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
