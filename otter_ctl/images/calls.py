"""What agents are asked about images, as typed calls. Must not know: who needs which."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from urllib.parse import quote

from otter_agent import api
from otter_ctl.client import AgentClient, Content
from otter_ctl.errors import AgentFault, RemoteError


class ImageCalls:
    """Of one agent.

    Args:
        client: Its client.
        machine: How it is called in errors.
    """

    def __init__(self, client: AgentClient, machine: str) -> None:
        self._client = client
        self.machine = machine

    async def look(self, modules: Sequence[api.ModuleSpec]) -> list[api.ImageLook]:
        """What it calls their images, and which of them it has."""
        body = api.encode(list(modules))
        path = "/v1/images/look"
        return await self._client.ask(path, list[api.ImageLook], "POST", body=body)

    async def make(
        self,
        module: api.ModuleSpec,
        uploads: Mapping[str, Content],
        on_line: Callable[[str], None],
    ) -> str:
        """Have it make, or pull, the image of a module; its name there.

        Raises:
            OtterError: It can't be made.
        """
        wanted = {d: uploads[d] for d in module.blobs() if d in uploads}
        await self._client.bring(wanted)
        async with self._client.request(
            "POST", "/v1/images/make", body=api.encode(module), answer_s=None
        ) as response:
            async for line in self._client.lines(response, api.MakeLine):
                if line.problem is not None:
                    raise AgentFault(self.machine, line.problem)
                if line.reference:
                    return line.reference
                on_line(line.text)
        raise RemoteError(self.machine, "the agent went away", hint="apply again: it goes on")

    async def offer(self, reference: str) -> api.ImageOffer:
        """What an image is made of. Raises `AgentFault`: `not-found`."""
        query = [("reference", reference)]
        path = "/v1/images/offer"
        return await self._client.ask(path, api.ImageOffer, query=query, answer_s=None)

    async def release(self, offer: api.ImageOffer) -> None:
        """It is sent to nobody any more."""
        async with self._client.request("DELETE", f"/v1/images/offers/{quote(offer.id)}"):
            pass

    async def layer(self, offer: api.ImageOffer, need: api.LayerNeed) -> AsyncIterator[bytes]:
        """What is lacking of a layer, in parcels, as it comes."""
        path = f"/v1/images/{quote(offer.id)}/layers/{quote(need.diff_id)}"
        query = [("start", str(need.start))]
        async for chunk in self._client.chunks(path, query=query):
            yield chunk

    async def needs(self, offer: api.ImageOffer) -> api.ImageNeeds:
        """What it lacks of an image.

        Raises:
            AgentFault: `wrong-kind`, `no-space`.
        """
        body = api.encode(offer)
        return await self._client.ask(
            "/v1/images/needs", api.ImageNeeds, "POST", body=body, answer_s=None
        )

    async def take(self, need: api.LayerNeed, chunks: AsyncIterator[bytes]) -> None:
        """Give it what it lacks of a layer.

        Raises:
            AgentFault: `changed`, `cut`: it stands elsewhere by now; `corrupt`, `no-space`.
        """
        path, query = f"/v1/images/layers/{quote(need.diff_id)}", [("start", str(need.start))]
        request = self._client.request("PUT", path, query=query, body=chunks, answer_s=None)
        async with aclosing(chunks), request:  # type: ignore[type-var]  # an async generator
            pass

    async def load(self, offer: api.ImageOffer) -> None:
        """Have it take an image whose layers it has. Raises `AgentFault`: `missing-layers`."""
        async with self._client.request(
            "POST", "/v1/images/load", body=api.encode(offer), answer_s=None
        ):
            pass
