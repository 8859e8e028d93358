"""Which of an agent's docker images nothing needs, and what each of them holds alone. Pure.

module ──base──► base ──packages──► packages ──root──► root      each is built on the next
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from otter_agent.images.labels import BASE, DIGEST, KIND

_BUILT_ON = (("base", "module"), ("packages", "base"), ("root", "packages"))
"""Each kind, and that which is built on it."""

Image = Mapping[str, Any]
"""One line of `GET /images/json`."""


def unused(images: Sequence[Image], keep: Collection[str], running: Collection[str]) -> list[Image]:
    """Those that can go, in the order in which they can.

    Args:
        images: All of the agent's.
        keep: Digests that meshes use.
        running: Ids of images that containers are made from.
    """
    by_kind: dict[str, list[Image]] = {"module": []}
    for image in images:
        by_kind.setdefault(_labels(image).get(KIND, ""), []).append(image)
    found = [
        image
        for image in by_kind["module"]
        if _labels(image).get(DIGEST) not in keep and image["Id"] not in running
    ]
    for kind, users in _BUILT_ON:
        staying = [i for i in by_kind.get(users, ()) if i not in found]
        used = {_labels(image).get(BASE) for image in staying}
        found += [i for i in by_kind.get(kind, ()) if not used.intersection(tags_of(i))]
    return found


def own_bytes(image: Image, images: Sequence[Image]) -> int:
    """What an image holds beyond the one that it is built on, if that is among `images`."""
    base = _labels(image).get(BASE)
    below = next((i["Size"] for i in images if base and base in tags_of(i)), 0)
    return max(0, int(image["Size"]) - int(below))


def tags_of(image: Image) -> list[str]:
    """An image's names."""
    return [tag for tag in image["RepoTags"] or () if tag != "<none>:<none>"]


def _labels(image: Image) -> Mapping[str, str]:
    return image["Labels"] or {}
