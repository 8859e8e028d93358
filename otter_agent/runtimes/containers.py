"""An agent's containers on an engine: found by label, made, looked at, removed.

Identity is by label, never by name. Only requests, nothing is decided here. Must not know: gates,
cgroups, networks.
"""

from __future__ import annotations

from typing import Any

from otter_agent.engine import Engine, EngineError, filters
from otter_agent.flights import Flights
from otter_agent.runtimes import container
from otter_agent.runtimes.base import Key
from otter_agent.runtimes.container import ImageFacts

_NOT_MODIFIED = 304
_NAMED_BY_CONTENT = "otter/module:"
"""Tags of this prefix never move: what is read of such an image holds for ever."""


class Containers:
    """The containers that carry this agent's label. Errors: `EngineError`.

    Args:
        engine: Where they are.
        agent_id: Whose they are.
    """

    def __init__(self, engine: Engine, agent_id: str) -> None:
        self.engine = engine
        self.agent_id = agent_id
        self._images: dict[str, ImageFacts] = {}
        self._looks: Flights[ImageFacts] = Flights()

    @property
    def label(self) -> str:
        """What all of them carry."""
        return f"{container.AGENT}={self.agent_id}"

    def owns(self, labels: dict[str, str], key: Key) -> bool:
        """Whether a container with these labels is this agent's for `key`."""
        return labels.get(container.AGENT) == self.agent_id and container.key_of(labels) == key

    async def listed(self, key: Key | None = None) -> list[dict[str, Any]]:
        """Short facts of all of them, or of those of one module."""
        labels = [self.label]
        if key is not None:
            labels += [f"{container.MESH}={key.mesh}", f"{container.MODULE}={key.module}"]
        listed: list[dict[str, Any]] = await self.engine.json(
            "GET", "/containers/json", params={"all": "1", **filters(label=labels)}
        )
        return listed

    async def show(self, name: str) -> dict[str, Any] | None:
        """All facts of a container, by id or name; None if there is none."""
        try:
            shown: dict[str, Any] = await self.engine.json("GET", f"/containers/{name}/json")
        except EngineError as exc:
            if exc.status == 404:
                return None
            raise
        return shown

    async def image(self, reference: str) -> ImageFacts:
        """What an image says; asked once where the reference names a content."""
        if known := self._images.get(reference):
            return known
        return await self._looks.join(reference, lambda: self._image(reference))

    async def _image(self, reference: str) -> ImageFacts:
        facts = ImageFacts.of(await self.engine.json("GET", f"/images/{reference}/json"))
        if reference == facts.id or reference.startswith(_NAMED_BY_CONTENT):
            self._images[reference] = facts
        return facts

    def forget_image(self, reference: str) -> None:
        """Ask again next time."""
        self._images.pop(reference, None)

    async def create(self, name: str, body: dict[str, Any]) -> str:
        """Make one; its id."""
        with self.engine.errors():
            return (await self.engine.client.containers.create(body, name=name)).id

    async def start(self, container_id: str) -> bool:
        """Start one; False if it runs already.

        Of one that is being removed the refusal is passed on once it is gone.
        """
        path = f"/containers/{container_id}/start"
        try:
            async with self.engine.stream("POST", path) as response:
                return response.status != _NOT_MODIFIED
        except EngineError as exc:
            if exc.status == 409 and await self._is_being_removed(container_id):
                await self._gone(container_id)
            raise

    async def kill(self, container_id: str, signal: str) -> None:
        """Send a signal to its first process."""
        with self.engine.errors():
            await self.engine.client.containers.container(container_id).kill(signal=signal)

    async def wait(self, container_id: str) -> None:
        """Return once it doesn't run; at once if it doesn't now."""
        await self.engine.json("POST", f"/containers/{container_id}/wait")

    async def delete(self, container_id: str) -> None:
        """Kill and remove one; waits for a removal that is under way already; absent is fine."""
        one = self.engine.client.containers.container(container_id)
        try:
            with self.engine.errors():
                await one.delete(force=True, v=True)
        except EngineError as exc:
            if exc.status == 409:
                await self._gone(container_id)
            elif exc.status != 404:
                raise

    async def _is_being_removed(self, container_id: str) -> bool:
        shown = await self.show(container_id)
        return shown is not None and shown["State"]["Status"] == "removing"

    async def _gone(self, container_id: str) -> None:
        path = f"/containers/{container_id}/wait"
        try:
            await self.engine.json("POST", path, params={"condition": "removed"})
        except EngineError as exc:
            if exc.status != 404:
                raise
