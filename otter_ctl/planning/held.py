"""Which images machines hold already: what placement weighs bringing them by. Pure.

A module's image is called differently on machines of different kinds, so it goes by what it is made
from; it is there if the machine holds the one of its own kind. What no machine holds has to be made
wherever it goes, and nobody knows its size: it weighs nothing. Bytes are whole images': layers that
a machine has of others aren't taken off. Must not know: agents, SSH.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from otter_agent import api
from otter_ctl.topology.model import Module


@dataclass(frozen=True, slots=True)
class Images:
    """Of modules, and of machines.

    Attributes:
        of: Module -> the key of its image; one that needs none is missing.
        sends: (machine, key) -> bytes that would have to be brought there; missing: none.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    sends: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def needed(self, modules: Iterable[Module]) -> frozenset[str]:
        """The images of some modules."""
        return frozenset(self.of[m.name] for m in modules if m.name in self.of)


NO_IMAGES = Images()


def questions(modules: Sequence[Module], digests: Mapping[Path, str]) -> list[api.ModuleSpec]:
    """What to ask machines with an engine: one module for each image.

    Args:
        modules: Of the topology.
        digests: Of their build folders, as they would be uploaded.
    """
    asked: dict[tuple[object, ...], api.ModuleSpec] = {}
    for module in modules:
        if _has_image(module):
            asked.setdefault(_made_from(module), _question(module, digests))
    return list(asked.values())


def held(modules: Sequence[Module], looks: Mapping[str, Sequence[api.ImageLook]]) -> Images:
    """What is held, from machines' answers to `questions`.

    Args:
        modules: As they were asked for.
        looks: Machine -> what it says; nothing, if it has no engine: it would have to make its own.
    """
    key_of: dict[tuple[object, ...], str] = {}
    for module in modules:
        if _has_image(module):
            key_of.setdefault(_made_from(module), module.name)
    sizes: dict[str, int] = {}
    for found in looks.values():
        for look in found:
            if look.present:
                sizes[look.module] = max(sizes.get(look.module, 0), look.size_bytes)
    present = {
        (name, look.module) for name, found in looks.items() for look in found if look.present
    }
    sends = {
        (machine, key): size
        for machine in looks
        for key, size in sizes.items()
        if size and (machine, key) not in present
    }
    of = {m.name: key_of[_made_from(m)] for m in modules if _has_image(m)}
    return Images(of, sends)


def _has_image(module: Module) -> bool:
    """Whether it may run from one; without an engine it runs as a process."""
    built = module.build is not None or module.image is not None
    return built and module.runtime in (None, "docker")


def _made_from(module: Module) -> tuple[object, ...]:
    return module.build, module.base, module.image, module.accelerator


def _question(module: Module, digests: Mapping[Path, str]) -> api.ModuleSpec:
    build = None
    if module.build is not None:
        build = api.Build(context=digests[module.build], base=module.base)
    return api.ModuleSpec(
        name=module.name, host="", address="", runtime="docker", image=module.image, build=build,
        accelerator=module.accelerator,
    )  # fmt: skip
