"""`among`, `beside` and `apart` of modules -> names of hosts and modules.

Must not know: TOML, positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from otter_ctl.topology.globs import Names
from otter_ctl.topology.model import Module
from otter_ctl.topology.reader import Fields, shown


def read_neighbours(
    written: Mapping[str, Fields], modules: dict[str, Module], hosts: Names | None
) -> None:
    """Put into `modules` what their tables say of where they may be placed."""
    named = {name: own for name, own in written.items() if {"among", "beside", "apart"} & own.given}
    if not named:
        return
    names = Names("module", modules, (m.made_from for m in modules.values()))
    for table, own in named.items():
        instances = [m for m in modules.values() if (m.made_from or m.name) == table]
        among = None if hosts is None else _found(own, "among", hosts)
        beside, apart = _found(own, "beside", names), _found(own, "apart", names)
        for module in instances:
            modules[module.name] = _placed_so(module, own, among, beside, apart)


def _found(own: Fields, key: str, names: Names) -> tuple[str, ...]:
    words: Iterable[str] = own.get(key, ())
    found = (name for word in words for name in names.find(word, own.place.child(key)))
    return tuple(dict.fromkeys(found))


def _placed_so(
    module: Module,
    own: Fields,
    among: tuple[str, ...] | None,
    beside: tuple[str, ...],
    apart: tuple[str, ...],
) -> Module:
    """One instance; of globs it is itself no part."""
    if module.host is not None and "among" in own.given:
        own.place.child("among").report("goes not with `host`, which says where it runs")
    both = sorted({*beside} & {*apart} - {module.name})
    if both:
        own.place.child("apart").report(f"{shown(both[0])} is in `beside` too")
    return replace(
        module,
        among=among or None,
        beside=tuple(name for name in beside if name != module.name),
        apart=tuple(name for name in apart if name != module.name),
    )
