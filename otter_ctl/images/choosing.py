"""Who makes which image, and who sends it to whom. Pure.

An image belongs to a kind of machine (`cpu-amd64`) and is named by its content: machines of one
kind that call it the same can share it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from otter_agent import api


@dataclass(frozen=True, slots=True)
class Job:
    """One image.

    Attributes:
        module: One that needs it.
        source: The machine that has it, or is to make it.
        make: It isn't there yet.
        to: Machines that lack it.
    """

    module: str
    reference: str
    kind: str
    source: str
    make: bool
    to: tuple[str, ...]


def choose(
    looks: Mapping[str, Sequence[api.ImageLook]],
    needs: Mapping[str, Collection[str]],
    builds: Collection[str],
    builders: Collection[str] = (),
) -> list[Job]:
    """What is to be made and sent.

    An image that only one machine needs, and nobody has, is left to that machine, unless there is
    a builder for its kind. So is one that is pulled: each machine pulls its own.

    Args:
        looks: Machine -> what it says of its modules; of builders: of all modules.
        needs: Machine -> modules that run there, and all others of the same image.
        builds: Modules whose image is built.
        builders: Machines that make images for all of their kind.
    """
    has: dict[tuple[str, str], list[str]] = defaultdict(list)
    knows: dict[tuple[str, str], list[str]] = defaultdict(list)
    lacks: dict[tuple[str, str], list[str]] = defaultdict(list)
    module_of: dict[tuple[str, str], str] = {}
    for machine in sorted(looks, key=lambda name: (name not in builders, name)):
        for look in looks[machine]:
            image = look.kind, look.reference
            module_of.setdefault(image, look.module)
            knows[image].append(machine)
            if look.present:
                has[image].append(machine)
            elif look.module in needs.get(machine, ()):
                lacks[image].append(machine)
    jobs = []
    for image, lacking in lacks.items():
        if has[image]:
            source = has[image][0]
        elif knows[image][0] in builders or (module_of[image] in builds and lacking[1:]):
            source = knows[image][0]
        else:
            continue
        to = tuple(dict.fromkeys(name for name in lacking if name != source))
        jobs.append(Job(module_of[image], image[1], image[0], source, not has[image], to))
    return jobs
