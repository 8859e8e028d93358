"""What is said of images that go from machine to machine. Pure data."""

from __future__ import annotations

from otter_agent.api.base import Data
from otter_agent.api.machine import Problem


class ImageLook(Data, frozen=True):
    """What a machine knows of the image that one module needs: `POST /v1/images/look`."""

    module: str
    reference: str
    """How this machine calls it; of a build: by all that it is made from."""
    kind: str
    """Machines of one kind can run each other's images: `cpu-amd64`."""
    present: bool
    size_bytes: int = 0
    """Of one that is present."""


class LayerFact(Data, frozen=True):
    """A layer of an image."""

    diff_id: str
    """`sha256:…` of its tar."""
    size_bytes: int
    """Of its files; 0: unknown."""


class ImageOffer(Data, frozen=True):
    """What an image is made of, as its sender has it: `GET /v1/images/offer?reference=`."""

    reference: str
    id: str
    """`sha256:…` of its configuration."""
    kind: str
    """As of `ImageLook`: what it is made for."""
    config: str
    """JSON, byte for byte."""
    layers: tuple[LayerFact, ...]
    """The lowest first."""
    digest: str = ""
    """The content that a module's image is named by; empty: it is no image of OTTER's."""


class LayerNeed(Data, frozen=True):
    """A layer that a machine lacks."""

    diff_id: str
    start: int
    """How many bytes of its tar have come already."""
    size_bytes: int


class ImageNeeds(Data, frozen=True):
    """What a machine lacks of an image: the answer of `POST /v1/images/needs`."""

    present: bool
    """All of it is there, by its name."""
    layers: tuple[LayerNeed, ...] = ()
    """To send; those that have come whole aren't among them."""


class MakeLine(Data, frozen=True):
    """A line of the answer of `POST /v1/images/make`."""

    text: str = ""
    reference: str = ""
    """It is there; this is the last line."""
    problem: Problem | None = None
    """It could not be made; this is the last line."""
