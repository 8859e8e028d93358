"""Both ends of an image on its way between two engines; the way itself is somebody else's.

    sender      offer ─► layer, layer, …  ─► release
    receiver    needs ─► take,  take,  …  ─► load

Any of it can be cut and asked for again; what has come isn't sent again. Must not know: HTTP,
modules, where the other end is.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otter_agent import api
from otter_agent.api.parcels import END, Pace
from otter_agent.engine import translated
from otter_agent.errors import AgentError, ImageError
from otter_agent.images.builder import Builder
from otter_agent.images.kinds import image_arch, kind_of
from otter_agent.images.labels import ACCELERATOR, DIGEST
from otter_agent.images.locks import Locks
from otter_agent.images.sending import overlay2, saved
from otter_agent.images.sending.archive import archive
from otter_agent.images.sending.overlay2 import Unreadable
from otter_agent.images.sending.received import Received
from otter_agent.images.sending.saved import NotReadable, Saved
from otter_agent.images.sending.staging import Staging
from otter_agent.layout import Layout

Pieces = Iterator[bytes]
_TELLING = ("Cmd", "Entrypoint", "Env", "Labels", "User", "WorkingDir")
"""Of an image's configuration: what a container is made with."""
_KEPT_S = 600.0
"""An image that `docker save` wrote goes after so long without anybody reading it."""


@dataclass(slots=True)
class _Kept:
    """An image that the engine has written to a file.

    Attributes:
        name: The engine's id of it.
        used: When it was last asked for.
        readers: Who had it offered and has not released it.
    """

    saved: Saved
    name: str
    used: float
    readers: int = 1


class Transfers:
    """Sends and receives images of one engine.

    Args:
        builder: Asks the engine.
        layout: Where what is under way lies.
    """

    def __init__(self, builder: Builder, layout: Layout) -> None:
        self._builder = builder
        self._engine = builder.engine
        self._scratch = layout.scratch
        self.staging = Staging(layout.lib / "layers")
        self.received = Received(layout.lib / "received.json")
        self._saved: dict[str, _Kept] = {}
        self._locks = Locks()

    # --- sender ------------------------------------------------------------------------------

    async def offer(self, reference: str) -> api.ImageOffer:
        """What an image is made of.

        Raises:
            AgentError: `not-found`.
            ImageError: The engine can't say.
        """
        with translated(ImageError, "send", reference):
            found = await self._builder.inspect(reference)
            if found is None:
                raise AgentError("not-found", f"there is no image {reference} here")
            config, sizes = await self._opened(reference, found)
        facts = json.loads(config)
        labels = facts.get("config", {}).get("Labels") or {}
        accelerator = labels.get(ACCELERATOR) or "cpu"
        return api.ImageOffer(
            reference=reference,
            id=f"sha256:{hashlib.sha256(config).hexdigest()}",
            kind=kind_of(facts["architecture"], accelerator),
            config=config.decode(),
            layers=tuple(
                api.LayerFact(diff_id=d, size_bytes=sizes.get(d, 0))
                for d in facts["rootfs"]["diff_ids"]
            ),
            digest=labels.get(DIGEST, ""),
        )

    async def layer(self, image: str, diff_id: str, start: int) -> AsyncIterator[bytes]:
        """A layer's tar from byte `start` on, in parcels.

        Raises:
            AgentError: `changed`: it isn't here, or has to be offered anew.
            ImageError: It can't be read.
        """
        reading = await self._reading(image, diff_id)
        try:
            async for parcel in _parcels(reading(start)):
                yield parcel
        except (Unreadable, NotReadable, OSError) as error:
            raise ImageError("docker", "read a layer of", image[:19], str(error)) from error

    async def release(self, image: str) -> None:
        """One of those who had it offered reads it no more."""
        kept = self._saved.get(image)
        if kept is not None:
            kept.readers -= 1
            if kept.readers <= 0:
                await self._forget(image)

    async def _forget(self, image: str) -> None:
        kept = self._saved.pop(image, None)
        if kept is not None:
            await asyncio.to_thread(kept.saved.file.unlink, True)

    async def _opened(
        self, reference: str, found: Mapping[str, Any]
    ) -> tuple[bytes, dict[str, int]]:
        """An image's configuration, and the sizes of its layers."""
        root = overlay2.store_of(await self._engine.info())
        if root is not None:
            with contextlib.suppress(Unreadable):
                return await asyncio.to_thread(_on_disk, root, found["Id"])
        async with self._locks.hold(found["Id"]):  # several may ask for one image
            kept = await self._save(reference, found["Id"])
        return kept.config, {diff_id: size for diff_id, (_, size) in kept.layers.items()}

    async def _save(self, reference: str, name: str) -> Saved:
        limit = time.monotonic() - _KEPT_S
        for image, kept in list(self._saved.items()):
            if kept.name == name:
                kept.readers += 1
                kept.used = time.monotonic()
                return kept.saved
            if kept.used < limit:
                await self._forget(image)
        file = self._scratch / f"save-{os.urandom(6).hex()}.tar"
        try:
            found = await saved.save(self._engine, reference, file)
        except BaseException as error:
            file.unlink(missing_ok=True)
            if isinstance(error, NotReadable | OSError):
                raise ImageError("docker", "send", reference, str(error)) from error
            raise
        image = f"sha256:{hashlib.sha256(found.config).hexdigest()}"
        self._saved[image] = _Kept(found, name, time.monotonic())
        return found

    async def _reading(self, image: str, diff_id: str) -> Callable[[int], Pieces]:
        kept = self._saved.get(image)
        if kept is not None and diff_id in kept.saved.layers:
            kept.used = time.monotonic()
            return lambda start: saved.read(kept.saved, diff_id, start)
        root = overlay2.store_of(await self._engine.info())
        with contextlib.suppress(Unreadable, ValueError):
            if root is not None:
                layers = (await asyncio.to_thread(_layers_on_disk, root, image))[1]
                if diff_id in layers:
                    return lambda start: overlay2.read(layers[diff_id], start)
        raise AgentError("changed", f"no layer {diff_id[:19]} of image {image[:19]} here")

    # --- receiver ----------------------------------------------------------------------------

    async def needs(self, offer: api.ImageOffer) -> api.ImageNeeds:
        """What is lacking of an image here.

        Raises:
            AgentError: `wrong-kind`: it is for other machines; `no-space`; `corrupt`.
            ImageError: The engine gives no answer.
        """
        config = _checked(offer)
        if config["architecture"] != image_arch():
            text = (
                f"image {offer.reference} is for {config['architecture']}, this is {image_arch()}"
            )
            raise AgentError("wrong-kind", text)
        with translated(ImageError, "receive", offer.reference):
            if await self._is_here(offer):
                return api.ImageNeeds(present=True)
            missing = await self._missing(offer)
        await asyncio.to_thread(self.staging.sweep)
        needed = []
        for layer in {fact.diff_id: fact for fact in offer.layers}.values():
            start = self.staging.offset(overlay2.hex_of(layer.diff_id))
            if layer.diff_id in missing and start is not None:
                size = layer.size_bytes
                needed.append(api.LayerNeed(diff_id=layer.diff_id, start=start, size_bytes=size))
        await self._check_room(offer, missing, sum(max(0, n.size_bytes - n.start) for n in needed))
        return api.ImageNeeds(present=False, layers=tuple(needed))

    async def take(self, diff_id: str, start: int, chunks: AsyncIterator[bytes]) -> None:
        """Take a layer from byte `start` on. See `Staging.take`."""
        try:
            digits = overlay2.hex_of(diff_id)
        except Unreadable as error:
            raise AgentError("bad-request", str(error)) from error
        await self.staging.take(digits, start, chunks)

    async def load(self, offer: api.ImageOffer) -> None:
        """Give the engine an image whose layers have come, or are there.

        Raises:
            AgentError: `missing-layers`: not all are.
            ImageError: The engine refuses it.
        """
        _checked(offer)
        # One at a time: layers that two images lack are those of the first, then.
        async with self._locks.hold("load"):
            with translated(ImageError, "load", offer.reference):
                if await self._is_here(offer):
                    return
                missing = await self._missing(offer)
                files = {d: self.staging.path(overlay2.hex_of(d)) for d in missing}
                lacking = [d for d, file in files.items() if not file.exists()]
                if lacking:
                    text = f"{len(lacking)} layers of {offer.reference} have not come"
                    raise AgentError("missing-layers", text, hint="apply again")
                self.received.add(offer.reference)
                await self._load(offer, files)
            self.staging.drop(*(file.name for file in files.values()))

    def prune(self, *, dry_run: bool) -> list[api.PrunedItem]:
        """Drop what has come and belongs to no image yet, or say how much that is."""
        held = self.staging.held_bytes()
        if held and not dry_run:
            self.staging.sweep(0.0)
        name = str(self.staging.folder)
        return [api.PrunedItem(reference=name, kind="layers", size_bytes=held)] if held else []

    async def _load(self, offer: api.ImageOffer, files: Mapping[str, Path]) -> None:
        body = archive(
            offer.config.encode(), offer.reference, [la.diff_id for la in offer.layers], files
        )
        said = ""
        async with self._engine.stream(
            "POST", "/images/load", params={"quiet": "1"}, data=body,
            content_type="application/x-tar",
        ) as response:  # fmt: skip
            async for answer in self._engine.objects(response):
                said = str(answer.get("error") or said)
        if not await self._is_here(offer):
            why = said or "the engine has made another image of it"
            raise ImageError("docker", "load", offer.reference, why, hint=_why_full(why))

    async def _is_here(self, offer: api.ImageOffer) -> bool:
        found = await self._builder.inspect(offer.reference)
        if found is not None and _same(found, offer, await self._engine.info()):
            return True
        by_id = await self._builder.inspect(offer.id)
        if by_id is None:
            return False
        name, _, tag = offer.reference.rpartition(":")
        params = {"repo": name, "tag": tag}
        async with self._engine.stream("POST", f"/images/{offer.id}/tag", params=params):
            pass
        self.received.add(offer.reference)
        return True

    async def _missing(self, offer: api.ImageOffer) -> list[str]:
        """Layers that the engine lacks, the lowest first."""
        diff_ids = [layer.diff_id for layer in offer.layers]
        here = await self._chains()
        lacks = [d for d, chain in zip(diff_ids, overlay2.chains(diff_ids), strict=True)
                 if chain not in here]  # fmt: skip
        return list(dict.fromkeys(lacks))

    async def _chains(self) -> set[str]:
        """All layers that the engine's images have; none where its store wants whole archives."""
        if _is_containerd(await self._engine.info()):
            return set()
        found: set[str] = set()
        for image in {i["Id"] for i in await self._engine.json("GET", "/images/json")}:
            inspected = await self._builder.inspect(image)
            layers = ((inspected or {}).get("RootFS") or {}).get("Layers") or []
            found.update(overlay2.chains(layers))
        return found

    async def _check_room(
        self, offer: api.ImageOffer, missing: Sequence[str], to_come: int
    ) -> None:
        """They are kept here, then unpacked by the engine twice: into a folder, into its store."""
        unpacked = sum(la.size_bytes for la in offer.layers if la.diff_id in missing)
        engines = Path((await self._engine.info()).get("DockerRootDir") or "/nowhere")
        check = self.staging.check_room
        await asyncio.to_thread(check, offer.reference, to_come, 2 * unpacked, engines)


async def _parcels(pieces: Pieces) -> AsyncIterator[bytes]:
    """Pieces packed, the next one while the last is sent."""
    loop, pace = asyncio.get_running_loop(), Pace()

    def following() -> bytes | None:
        piece = next(pieces, None)
        return None if piece is None else pace.pack(piece)

    ahead = loop.run_in_executor(None, following)
    try:
        while (parcel := await asyncio.shield(ahead)) is not None:
            ahead = loop.run_in_executor(None, following)
            began = time.monotonic()
            yield parcel
            pace.sent(len(parcel), time.monotonic() - began)
        yield END
    finally:
        await asyncio.wait((ahead,))  # a thread is in the generator
        ahead.exception()
        await asyncio.to_thread(getattr(pieces, "close", lambda: None))


def _on_disk(root: Path, image: str) -> tuple[bytes, dict[str, int]]:
    config, layers = _layers_on_disk(root, image)
    return config, {diff_id: layer.size_bytes for diff_id, layer in layers.items()}


def _layers_on_disk(root: Path, image: str) -> tuple[bytes, dict[str, overlay2.Layer]]:
    """An image's configuration, and where its layers are. Raises `Unreadable`."""
    config = overlay2.config(root, image)
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    found = {d: overlay2.find(root, chain)
             for d, chain in zip(diff_ids, overlay2.chains(diff_ids), strict=True)}  # fmt: skip
    return config, found


def _checked(offer: api.ImageOffer) -> dict[str, Any]:
    """The configuration of an offer that is consistent. Raises `AgentError`."""
    if f"sha256:{hashlib.sha256(offer.config.encode()).hexdigest()}" != offer.id:
        raise AgentError("corrupt", f"the configuration of {offer.reference} has another digest")
    try:
        config: dict[str, Any] = json.loads(offer.config)
        same = config["rootfs"]["diff_ids"] == [layer.diff_id for layer in offer.layers]
        for layer in offer.layers:
            overlay2.hex_of(layer.diff_id)
        config["architecture"].strip()
    except (ValueError, KeyError, TypeError, AttributeError, Unreadable) as error:
        raise AgentError("bad-request", f"{offer.reference}: {error}") from error
    if not same or ":" not in offer.reference.rpartition("/")[2] or "@" in offer.reference:
        raise AgentError("bad-request", f"{offer.reference}: it can't be sent by this name")
    return config


def _same(found: Mapping[str, Any], offer: api.ImageOffer, info: Mapping[str, Any]) -> bool:
    """By its id; containerd's store calls images otherwise: by all that they are, there."""
    if found["Id"] == offer.id or not _is_containerd(info):
        return bool(found["Id"] == offer.id)
    theirs, ours = found.get("Config") or {}, json.loads(offer.config).get("config") or {}
    layers = (found.get("RootFS") or {}).get("Layers")
    return layers == [layer.diff_id for layer in offer.layers] and all(
        (theirs.get(key) or None) == (ours.get(key) or None) for key in _TELLING
    )


def _is_containerd(info: Mapping[str, Any]) -> bool:
    status = info.get("DriverStatus") or ()
    return any(pair == ["driver-type", "io.containerd.snapshotter.v1"] for pair in status)


def _why_full(why: str) -> str:
    full = "no space left" in why.lower()
    return "free some space for the Docker engine, e.g. `otterctl image prune`" if full else ""
