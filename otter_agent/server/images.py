"""Images and environments: listed, pruned; looked for, made, sent to and taken from other machines.

A layer is sent as `application/octet-stream`, in parcels (otter_agent/api/parcels.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing

from aiohttp import web

from net.errors import OtterError
from otter_agent import api, collect
from otter_agent.abilities import accelerators
from otter_agent.errors import AgentError
from otter_agent.images.docker import DockerImages
from otter_agent.machine import Machine
from otter_agent.server.common import AGENT, answer, flag, ndjson, number

_CHUNK = 1 << 18


async def _images(request: web.Request) -> web.Response:
    return answer(await collect.images(request.app[AGENT].machine, request.app[AGENT].in_use()))


async def _prune(request: web.Request) -> web.Response:
    agent = request.app[AGENT]
    keep, dry_run = frozenset(agent.in_use()), flag(request, "dry_run")
    return answer(await collect.prune(agent.machine, keep, dry_run=dry_run))


def _store(request: web.Request) -> DockerImages:
    machine = request.app[AGENT].machine
    store = machine.stores.get("docker")
    why = machine.problem_of("docker")
    if why or not isinstance(store, DockerImages):
        raise AgentError("failed", f"no images can be had here: {why}")
    return store


async def misfits(machine: Machine, spec: api.MeshSpec) -> tuple[api.Problem, ...]:
    """Modules that are made for other machines than this, as far as that is known."""
    found, has = [], ("cpu", *accelerators())
    store = machine.stores.get("docker")
    for module in spec.modules:
        why = ""
        if module.accelerator not in has:
            why = f"it is made for {module.accelerator}, which this machine has no driver of"
        elif (
            module.runtime == "docker"
            and isinstance(store, DockerImages)
            and not machine.problem_of("docker")
        ):
            try:
                why = await store.misfit(module)
            except OtterError as error:
                why = str(error)
        if why:
            text = f"module {module.name}: {why}"
            found.append(api.Problem(code="wrong-kind", message=text))
    return tuple(found)


async def spared(machine: Machine, spec: api.MeshSpec, missing: Collection[str]) -> frozenset[str]:
    """Of uploads that are missing, build folders of which every image is here: nobody builds any.

    That an image is gone later shows as a build that fails, and the next apply brings its folder.
    """
    store = machine.stores.get("docker")
    if not missing or machine.problem_of("docker") or not isinstance(store, DockerImages):
        return frozenset()
    built, needed = set[str](), set[str]()
    for module in spec.modules:
        if module.build is not None and module.build.context in missing:
            here = module.runtime == "docker" and await _is_here(store, module)
            (built if here else needed).add(module.build.context)
        needed.update(file.blob for file in module.files)
        needed.update(weights.blob for weights in module.weights)
    return frozenset(built - needed)


async def _is_here(store: DockerImages, module: api.ModuleSpec) -> bool:
    try:
        return (await store.look(module)).present
    except OtterError:
        return False


async def _look(request: web.Request) -> web.Response:
    modules = api.decode(await request.read(), list[api.ModuleSpec])
    store = _store(request)
    return answer([await store.look(module) for module in modules])


async def _make(request: web.Request) -> web.StreamResponse:
    module = api.decode(await request.read(), api.ModuleSpec)
    with request.app[AGENT].needed():
        return await ndjson(request, _making(_store(request), module))


async def _making(store: DockerImages, module: api.ModuleSpec) -> AsyncIterator[list[api.MakeLine]]:
    """What a build says, and what came of it."""
    loop, lines = asyncio.get_running_loop(), asyncio.Queue[api.MakeLine]()

    def log(text: str) -> None:  # builds log from threads of theirs as well
        loop.call_soon_threadsafe(lines.put_nowait, api.MakeLine(text=text))

    async def work() -> None:
        try:
            artifact = await store.ensure(module, log)
        except OtterError as error:
            problem = api.Problem(code="failed", message=error.message, hint=error.hint)
            loop.call_soon_threadsafe(lines.put_nowait, api.MakeLine(problem=problem))
        else:
            done = api.MakeLine(reference=artifact.reference)
            loop.call_soon_threadsafe(lines.put_nowait, done)

    async with asyncio.TaskGroup() as group:
        making = group.create_task(work(), name=f"make {module.name}")
        try:
            while True:
                line = await lines.get()
                yield [line]
                if line.reference or line.problem:
                    break
        except GeneratorExit:
            pass  # nobody reads on; a group would make an error of it
        finally:
            making.cancel()


async def _offer(request: web.Request) -> web.Response:
    return answer(await _store(request).transfers.offer(request.query.get("reference", "")))


async def _release(request: web.Request) -> web.Response:
    await _store(request).transfers.release(request.match_info["image"])
    return web.Response(status=204)


async def _layer(request: web.Request) -> web.StreamResponse:
    names, start = request.match_info, number(request, "start") or 0
    parcels = _store(request).transfers.layer(names["image"], names["layer"], start)
    with request.app[AGENT].needed():
        return await _send(request, parcels)


async def _send(request: web.Request, parcels: AsyncIterator[bytes]) -> web.StreamResponse:
    async with aclosing(parcels):  # type: ignore[type-var]  # it is an async generator
        first = await anext(parcels)  # what fails at once is answered as such
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        await response.prepare(request)
        await response.write(first)
        async for parcel in parcels:
            await response.write(parcel)
        await response.write_eof()
    return response


async def _needs(request: web.Request) -> web.Response:
    offer = api.decode(await request.read(), api.ImageOffer)
    return answer(await _store(request).transfers.needs(offer))


async def _take(request: web.Request) -> web.Response:
    layer, start = request.match_info["layer"], number(request, "start") or 0
    chunks = request.content.iter_chunked(_CHUNK)
    with request.app[AGENT].needed():
        await _store(request).transfers.take(layer, start, chunks)
    return web.Response(status=204)


async def _load(request: web.Request) -> web.Response:
    offer = api.decode(await request.read(), api.ImageOffer)
    with request.app[AGENT].needed():
        await _store(request).transfers.load(offer)
    return web.Response(status=204)


ROUTES = (
    web.get("/v1/images", _images),
    web.post("/v1/images/prune", _prune),
    web.post("/v1/images/look", _look),
    web.post("/v1/images/make", _make),
    web.get("/v1/images/offer", _offer),
    web.delete("/v1/images/offers/{image}", _release),
    web.get("/v1/images/{image}/layers/{layer}", _layer),
    web.post("/v1/images/needs", _needs),
    web.put("/v1/images/layers/{layer}", _take),
    web.post("/v1/images/load", _load),
)
